package org.distilltophone.core;

import java.util.Arrays;

/** One pass of Pillow's antialiased bilinear resize with integer weights (docs/preprocessing.md). */
final class ResizePass {
    private static final int PRECISION_BITS = 32 - 8 - 2;
    private static final int HALF = 1 << (PRECISION_BITS - 1);

    /** First source pixel of each target pixel. */
    final int[] first;
    /** Number of source pixels of each target pixel. */
    final int[] count;
    /** Largest number of source pixels. */
    final int longest;
    /** Weights of target pixel i start at {@code i * longest}. */
    final int[] weights;

    /**
     * @param source source size in pixels
     * @param target target size in pixels
     * @param from first target pixel needed
     * @param wanted number of target pixels needed
     */
    ResizePass(int source, int target, int from, int wanted) {
        first = new int[wanted];
        count = new int[wanted];
        double scale = (double) source / target;
        double support = Math.max(scale, 1.0);
        double inverse = 1.0 / support;
        longest = Math.min(source, (int) Math.ceil(support) * 2 + 1);
        weights = new int[Math.multiplyExact(wanted, longest)];
        double[] w = new double[longest];
        for (int i = 0; i < wanted; i++) {
            double center = (from + i + 0.5) * scale;
            int low = Math.max(0, (int) (center - support + 0.5));
            int high = Math.min(source, (int) (center + support + 0.5));
            double total = 0;
            for (int at = low; at < high; at++) {
                w[at - low] = Math.max(0.0, 1.0 - Math.abs((at - center + 0.5) * inverse));
                total += w[at - low];
            }
            first[i] = low;
            count[i] = high - low;
            for (int k = 0; k < high - low; k++) {
                weights[i * longest + k] = (int) (0.5 + w[k] / total * (1 << PRECISION_BITS));
            }
        }
    }

    /** Resizes a row of RGB pixels. */
    void across(byte[] row, byte[] out, int outAt) {
        for (int i = 0; i < first.length; i++) {
            int red = HALF;
            int green = HALF;
            int blue = HALF;
            int at = first[i] * 3;
            int k = i * longest;
            for (int end = k + count[i]; k < end; k++) {
                int weight = weights[k];
                red += (row[at] & 255) * weight;
                green += (row[at + 1] & 255) * weight;
                blue += (row[at + 2] & 255) * weight;
                at += 3;
            }
            out[outAt++] = clamp(red);
            out[outAt++] = clamp(green);
            out[outAt++] = clamp(blue);
        }
    }

    /**
     * Computes one target row from several source rows.
     *
     * @param ring source row r starts at {@code (r % longest) * width}
     * @param sums scratch space of {@code width} values
     */
    void down(int target, byte[] ring, int width, int[] sums, byte[] out, int outAt) {
        Arrays.fill(sums, HALF);
        for (int k = 0; k < count[target]; k++) {
            int weight = weights[target * longest + k];
            int at = (first[target] + k) % longest * width;
            for (int x = 0; x < width; x++) {
                sums[x] += (ring[at + x] & 255) * weight;
            }
        }
        for (int x = 0; x < width; x++) {
            out[outAt + x] = clamp(sums[x]);
        }
    }

    private static byte clamp(int sum) {
        int value = sum >> PRECISION_BITS;
        return (byte) (value < 0 ? 0 : Math.min(value, 255));
    }
}
