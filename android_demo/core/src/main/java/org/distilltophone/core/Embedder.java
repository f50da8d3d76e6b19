package org.distilltophone.core;

import java.io.Closeable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Pixels to embeddings with one loaded model. One call at a time; calls from several threads wait for each other. */
public final class Embedder implements Closeable {
    private final TensorCodec border;
    private final Engine engine;
    private final ByteBuffer input;
    private final ByteBuffer output;

    /** @param engine of the bundle's variant; closed by {@link #close} */
    public Embedder(Bundle bundle, Engine engine) {
        this(new TensorCodec(bundle.preprocessing(), bundle.variant()), engine);
    }

    /** The same for a model that comes without a bundle. */
    public Embedder(TensorCodec border, Engine engine) {
        this.border = border;
        this.engine = engine;
        input = ByteBuffer.allocateDirect(border.input.bytes()).order(ByteOrder.nativeOrder());
        output = ByteBuffer.allocateDirect(border.output.bytes()).order(ByteOrder.nativeOrder());
    }

    /** How many values an embedding has. */
    public int dimension() {
        return border.dimension();
    }

    /**
     * The embedding of one picture.
     *
     * @param pixels RGB {@code [inputSize][inputSize][3]}, see {@link Preprocessing#pixels}
     * @return unit length
     */
    public synchronized float[] embed(byte[] pixels) {
        prepare(pixels);
        invoke();
        return result();
    }

    /** Writes the input tensor: the first part of {@link #embed}, for benchmarks. */
    public synchronized void prepare(byte[] pixels) {
        prepare(pixels, 0);
    }

    /** The same for one of several pictures that lie one after another. */
    public synchronized void prepare(byte[] pixels, int offset) {
        border.write(pixels, offset, input);
    }

    /** Runs the model on the input prepared last: what a latency benchmark times. */
    public synchronized void invoke() {
        input.rewind();
        output.rewind();
        engine.run(input, output);
    }

    /** The embedding of the picture last prepared and invoked. */
    public synchronized float[] result() {
        float[] embedding = new float[border.dimension()];
        border.read(output, embedding);
        return embedding;
    }

    @Override
    public synchronized void close() {
        engine.close();
    }
}
