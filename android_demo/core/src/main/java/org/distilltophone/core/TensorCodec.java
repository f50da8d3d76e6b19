package org.distilltophone.core;

import java.nio.ByteBuffer;

/** Converts pixels to the input tensor, and the output tensor to an embedding, as docs/bundle.md specifies. */
public final class TensorCodec {
    private static final float TINY = 1e-12f; // a zero row stays zero

    final TensorSpec input;
    final TensorSpec output;
    private final float[][] floats; // [channel][pixel value]
    private final byte[][] bytes;
    private final float[] squares;

    /** Creates the codec of a bundle's variant. */
    public TensorCodec(Preprocessing preprocessing, Variant variant) {
        this(variant.input, variant.output, table(preprocessing, variant.input));
    }

    /** @param table {@code [channel][pixel value]}: the tensor's value; for integer tensors the stored integer, -128 to 255 */
    public TensorCodec(TensorSpec input, TensorSpec output, float[][] table) {
        if (input.dtype.equals("int16") || output.dtype.equals("int16")) {
            throw new IllegalArgumentException("a model with int16 input or output is not supported here: use one with int8 or float32");
        }
        this.input = input;
        this.output = output;
        floats = table;
        bytes = new byte[3][256];
        for (int channel = 0; channel < 3; channel++) {
            for (int value = 0; value < 256; value++) {
                bytes[channel][value] = (byte) (int) table[channel][value];
            }
        }
        squares = new float[output.bytes() / (output.isFloat() ? 4 : 1)];
    }

    private static float[][] table(Preprocessing preprocessing, TensorSpec input) {
        float[][] table = new float[3][256];
        boolean unsigned = input.dtype.equals("uint8");
        for (int channel = 0; channel < 3; channel++) {
            for (int value = 0; value < 256; value++) {
                float scaled = (value - (float) preprocessing.mean[channel]) / (float) preprocessing.std[channel];
                if (!input.isFloat()) {
                    double steps = Math.rint(scaled / input.scale) + input.zeroPoint;
                    scaled = (float) Math.max(unsigned ? 0 : -128, Math.min(unsigned ? 255 : 127, steps));
                }
                table[channel][value] = scaled;
            }
        }
        return table;
    }

    /** Returns the length of an embedding. */
    public int dimension() {
        return squares.length;
    }

    /**
     * Writes the input tensor.
     *
     * @param pixels RGB, row by row; the image starts at {@code offset}
     * @param into native order; written from position 0 regardless of its position
     */
    public void write(byte[] pixels, int offset, ByteBuffer into) {
        int size = input.bytes() / (input.isFloat() ? 4 : 1);
        if (offset < 0 || pixels.length - offset < size) {
            throw new IllegalArgumentException(pixels.length + " bytes of pixels from " + offset + ", the model takes " + size);
        }
        into.clear();
        boolean planes = "NCHW".equals(input.layout);
        int pixel = planes ? 3 : 1;
        for (int plane = 0; plane < (planes ? 3 : 1); plane++) {
            int channel = plane;
            for (int at = offset + plane, end = offset + size; at < end; at += pixel) {
                int value = pixels[at] & 255;
                if (input.isFloat()) {
                    into.putFloat(floats[channel][value]);
                } else {
                    into.put(bytes[channel][value]);
                }
                if (!planes && ++channel == 3) {
                    channel = 0;
                }
            }
        }
        into.flip();
    }

    /**
     * Reads the embedding and divides it by its length, with the same float32 rounding as NumPy.
     *
     * @param from native order, read from position 0
     * @param into receives the embedding of unit length
     */
    public void read(ByteBuffer from, float[] into) {
        boolean unsigned = output.dtype.equals("uint8");
        float scale = (float) output.scale;
        float zero = output.zeroPoint;
        for (int d = 0; d < squares.length; d++) {
            float value;
            if (output.isFloat()) {
                value = from.getFloat(d * 4);
            } else {
                byte raw = from.get(d);
                value = ((unsigned ? raw & 255 : raw) - zero) * scale;
            }
            into[d] = value;
            squares[d] = value * value;
        }
        float length = Math.max((float) Math.sqrt(pairwise(squares, 0, squares.length)), TINY);
        for (int d = 0; d < squares.length; d++) {
            into[d] /= length;
        }
    }

    /** NumPy's pairwise summation. Another order would change the last bit. */
    private static float pairwise(float[] a, int from, int n) {
        if (n < 8) {
            float sum = -0f;
            for (int i = 0; i < n; i++) {
                sum += a[from + i];
            }
            return sum;
        }
        if (n <= 128) {
            float r0 = a[from];
            float r1 = a[from + 1];
            float r2 = a[from + 2];
            float r3 = a[from + 3];
            float r4 = a[from + 4];
            float r5 = a[from + 5];
            float r6 = a[from + 6];
            float r7 = a[from + 7];
            int i = 8;
            for (; i < n - n % 8; i += 8) {
                r0 += a[from + i];
                r1 += a[from + i + 1];
                r2 += a[from + i + 2];
                r3 += a[from + i + 3];
                r4 += a[from + i + 4];
                r5 += a[from + i + 5];
                r6 += a[from + i + 6];
                r7 += a[from + i + 7];
            }
            float sum = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7));
            for (; i < n; i++) {
                sum += a[from + i];
            }
            return sum;
        }
        int half = n / 2;
        half -= half % 8;
        return pairwise(a, from, half) + pairwise(a, from + half, n - half);
    }
}
