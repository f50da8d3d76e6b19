package org.distilltophone.core;

import java.io.Closeable;
import java.nio.ByteBuffer;

/**
 * A loaded model with one input and one output, batch 1.
 *
 * <p>Implementations check when opening that the tensors in the file match its {@link Variant}.
 */
public interface Engine extends Closeable {
    /**
     * Runs the model once.
     *
     * @param input input tensor from position 0 to limit; direct, native byte order
     * @param output receives the output tensor from position 0; direct, native byte order
     */
    void run(ByteBuffer input, ByteBuffer output);

    @Override
    void close();
}
