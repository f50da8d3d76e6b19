package org.distilltophone.jvm;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.distilltophone.core.FlatIndex;
import org.distilltophone.core.Index;
import org.distilltophone.core.TopK;

/**
 * Exact search that HotSpot vectorizes; the results equal those of {@link FlatIndex}, and nothing is allocated per query.
 *
 * <p>Rows are stored in blocks with two values per 16-bit lane, and the inner loop runs across rows. This needs a second
 * copy of the rows, twice as large. Phones do not need it: Android's compiler vectorizes {@link FlatIndex}.
 */
final class LaneIndex implements Index {
    private static final int BLOCK = 2048; // rows; their sums fit into the first-level cache
    private static final int NARROW = 32767;

    private final int count;
    private final int dimension;
    private final int pairs;
    // Block b, pair p, row j of the block: packed[b][p * BLOCK + j] = first value + 128 + 256 * second value.
    private final short[][] packed;
    private final char[] sums = new char[BLOCK];
    private final short[] factors;
    private long longest; // squared length of the longest row

    /** @param rows int8 [count][dimension], from position 0 */
    LaneIndex(ByteBuffer rows, int count, int dimension) {
        this.count = count;
        this.dimension = dimension;
        pairs = (dimension + 1) / 2;
        factors = new short[2 * pairs];
        packed = new short[(count + BLOCK - 1) / BLOCK][];
        byte[] row = new byte[dimension];
        ByteBuffer all = rows.duplicate();
        all.rewind();
        for (int i = 0; i < count; i++) {
            all.get(row);
            place(i, row);
        }
    }

    private void place(int row, byte[] values) {
        int b = row / BLOCK;
        if (packed[b] == null) {
            packed[b] = new short[Math.multiplyExact(pairs, BLOCK)];
        }
        long square = 0;
        for (int p = 0; p < pairs; p++) {
            int first = values[2 * p];
            int second = 2 * p + 1 < dimension ? values[2 * p + 1] : 0;
            packed[b][p * BLOCK + row % BLOCK] = (short) (first + 128 + 256 * second);
            square += first * first + second * second;
        }
        longest = Math.max(longest, square);
    }

    /**
     * With w = (a + 128) + 256 b: {@code q0 a + q1 b = q0 w + (q1 - 256 q0) (w >> 8) - 128 q0}, computed modulo 2^16. This
     * is exact if the result fits into 16 bits. For rows of unit length it does, because no inner product exceeds the
     * product of the lengths.
     */
    @Override
    public synchronized void search(byte[] query, int k, TopK into) {
        FlatIndex.checkQuery(query, dimension);
        into.start(k);
        long square = 0;
        int start = 0;
        for (int p = 0; p < pairs; p++) {
            int first = query[2 * p];
            int second = 2 * p + 1 < dimension ? query[2 * p + 1] : 0;
            factors[2 * p] = (short) first;
            factors[2 * p + 1] = (short) (second - 256 * first);
            start -= 128 * first;
            square += first * first + second * second;
        }
        boolean narrow = square == 0 || longest <= (long) NARROW * NARROW / square;
        for (int b = 0; b < packed.length; b++) {
            int rows = Math.min(BLOCK, count - b * BLOCK);
            if (narrow) {
                Arrays.fill(sums, (char) start);
                for (int p = 0; p < pairs; p++) {
                    add(packed[b], p * BLOCK, sums, factors[2 * p], factors[2 * p + 1]);
                }
                collect(b * BLOCK, rows, into);
            } else {
                wide(packed[b], b * BLOCK, rows, query, into);
            }
        }
    }

    // char[], not short[]: HotSpot 17 does not vectorize a store into an array of the type that the loop reads.
    private static void add(short[] packed, int at, char[] sums, int factor, int highFactor) {
        for (int j = 0; j < BLOCK; j++) {
            sums[j] = (char) (sums[j] + factor * packed[at + j] + highFactor * (packed[at + j] >> 8));
        }
    }

    private void collect(int from, int rows, TopK into) {
        int threshold = into.threshold();
        for (int j = 0; j < rows; j++) {
            int dot = (short) sums[j];
            if (dot > threshold) {
                into.offer(from + j, dot);
                threshold = into.threshold();
            }
        }
    }

    /** Computes inner products that may exceed 16 bits, for rows longer than any embedding. */
    private void wide(short[] block, int from, int rows, byte[] query, TopK into) {
        for (int j = 0; j < rows; j++) {
            int dot = 0;
            for (int d = 0; d < dimension; d++) {
                int pair = block[d / 2 * BLOCK + j];
                dot += query[d] * (d % 2 == 0 ? (pair & 255) - 128 : pair >> 8);
            }
            if (dot > into.threshold()) {
                into.offer(from + j, dot);
            }
        }
    }
}
