package org.distilltophone.core;

/** Int8 codes of embeddings: {@code q = clamp(rint(e * 127), -127, 127)}, halves to the even neighbour. */
public final class Int8 {
    /** Value of one step: an embedding is about {@code q * SCALE}. */
    public static final double SCALE = 1.0 / 127;

    private static final int FACTORS = 4096;
    private static final int MOST_STEPS = 64;

    private Int8() {}

    /**
     * Quantizes a row of a gallery: of the codes of {@code unit * (4096 + j) / 4096}, j = 0, ±2, … ±64, takes those whose
     * squared length is nearest to 127². Ties go to the smallest |j|, then to the negative j.
     *
     * <p>Plain rounding makes some rows longer than others, and in a ranking by inner product a longer row can win over a
     * nearer one (docs/gallery.md). Queries are quantized plainly.
     *
     * @throws IllegalArgumentException NaN or infinity
     */
    public static byte[] row(float[] unit) {
        byte[] best = quantize(unit);
        int bestError = lengthError(best);
        byte[] codes = new byte[unit.length];
        for (int step = 2; step <= MOST_STEPS; step += 2) {
            for (int sign = -1; sign <= 1; sign += 2) {
                quantize(unit, (FACTORS + sign * step) / (double) FACTORS, codes);
                int error = lengthError(codes);
                if (error < bestError) {
                    System.arraycopy(codes, 0, best, 0, codes.length);
                    bestError = error;
                }
            }
        }
        return best;
    }

    private static int lengthError(byte[] codes) {
        int squares = 0;
        for (byte code : codes) {
            squares += code * code;
        }
        return Math.abs(squares - 127 * 127);
    }

    /**
     * Quantizes a query.
     *
     * @param unit embedding of unit length
     * @throws IllegalArgumentException NaN or infinity
     */
    public static byte[] quantize(float[] unit) {
        byte[] out = new byte[unit.length];
        quantize(unit, out);
        return out;
    }

    /** Quantizes a query without allocating. */
    public static void quantize(float[] unit, byte[] out) {
        quantize(unit, 1, out);
    }

    private static void quantize(float[] unit, double factor, byte[] out) {
        if (out.length != unit.length) {
            throw new IllegalArgumentException(unit.length + " values into " + out.length);
        }
        for (int d = 0; d < unit.length; d++) {
            // The exact product. In float32 it would be rounded twice, and the codes would differ from Python's.
            double step = Math.rint((double) unit[d] * 127 * factor);
            if (Double.isNaN(step) || Double.isInfinite(step)) {
                throw new IllegalArgumentException("an embedding holds NaN or infinity");
            }
            out[d] = (byte) Math.max(-127, Math.min(127, step));
        }
    }
}
