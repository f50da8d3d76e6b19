package org.distilltophone.core;

import java.io.Closeable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Computes embeddings with one loaded model. Thread-safe; concurrent calls wait for each other. */
public final class Embedder implements Closeable {
    private final TensorCodec codec;
    private final Engine engine;
    private final ByteBuffer input;
    private final ByteBuffer output;

    /** @param engine engine with the model of the bundle's variant; closed by {@link #close} */
    public Embedder(Bundle bundle, Engine engine) {
        this(new TensorCodec(bundle.preprocessing(), bundle.variant()), engine);
    }

    /** Creates an embedder for a model without a bundle. */
    public Embedder(TensorCodec codec, Engine engine) {
        this.codec = codec;
        this.engine = engine;
        input = ByteBuffer.allocateDirect(codec.input.bytes()).order(ByteOrder.nativeOrder());
        output = ByteBuffer.allocateDirect(codec.output.bytes()).order(ByteOrder.nativeOrder());
    }

    /** Returns the length of an embedding. */
    public int dimension() {
        return codec.dimension();
    }

    /**
     * Computes the embedding of one image.
     *
     * @param pixels RGB {@code [inputSize][inputSize][3]}, see {@link Preprocessing#pixels}
     * @return embedding of unit length
     */
    public synchronized float[] embed(byte[] pixels) {
        prepare(pixels);
        invoke();
        return result();
    }

    /** Writes the input tensor: the first step of {@link #embed}, for benchmarks. */
    public synchronized void prepare(byte[] pixels) {
        prepare(pixels, 0);
    }

    /** Writes the input tensor from the image that starts at {@code offset}. */
    public synchronized void prepare(byte[] pixels, int offset) {
        codec.write(pixels, offset, input);
    }

    /**
     * Writes the input tensor and returns the SHA-256 of its bytes. These are in native order, which is little-endian on every
     * Android device, as the hashes of a bundle are.
     */
    public synchronized String inputSha256(byte[] pixels) {
        prepare(pixels);
        ByteBuffer tensor = input.duplicate();
        tensor.rewind();
        return Sha256.of(tensor);
    }

    /** Runs the model on the prepared input. Latency benchmarks time this call. */
    public synchronized void invoke() {
        input.rewind();
        output.rewind();
        engine.run(input, output);
    }

    /** Returns the embedding computed by the last {@link #invoke}. */
    public synchronized float[] result() {
        float[] embedding = new float[codec.dimension()];
        codec.read(output, embedding);
        return embedding;
    }

    @Override
    public synchronized void close() {
        engine.close();
    }
}
