package org.distilltophone.core;

/** Embeddings as galleries hold them: {@code q = clamp(rint(e * 127), -127, 127)}, halves to the even neighbour. */
public final class Int8 {
    /** What one step stands for. */
    public static final double SCALE = 1.0 / 127;

    private Int8() {}

    /**
     * @param unit an embedding of unit length
     * @throws IllegalArgumentException it holds NaN or infinity
     */
    public static byte[] quantize(float[] unit) {
        byte[] out = new byte[unit.length];
        quantize(unit, out);
        return out;
    }

    /** The same without allocating. */
    public static void quantize(float[] unit, byte[] out) {
        if (out.length != unit.length) {
            throw new IllegalArgumentException(unit.length + " values into " + out.length);
        }
        for (int d = 0; d < unit.length; d++) {
            // The exact product: in float32 it would be rounded twice, and Python's codes would be others.
            double step = Math.rint((double) unit[d] * 127);
            if (Double.isNaN(step) || Double.isInfinite(step)) {
                throw new IllegalArgumentException("an embedding holds NaN or infinity");
            }
            out[d] = (byte) Math.max(-127, Math.min(127, step));
        }
    }
}
