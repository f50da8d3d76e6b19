package org.distilltophone.core;

import java.io.Closeable;
import java.nio.ByteBuffer;

/**
 * A loaded model with one input and one output, batch 1.
 *
 * <p>Implementations check at opening that the file's own tensors are those of its {@link Variant}.
 */
public interface Engine extends Closeable {
    /**
     * Runs the model once.
     *
     * @param input direct, native byte order, the bytes of the input tensor from position 0 to limit
     * @param output direct, native byte order, takes the bytes of the output tensor from position 0
     */
    void run(ByteBuffer input, ByteBuffer output);

    @Override
    void close();
}
