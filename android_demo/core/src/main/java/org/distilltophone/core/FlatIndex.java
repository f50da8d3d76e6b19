package org.distilltophone.core;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Exact search over the int8 rows of a gallery: inner products with every row, the k largest. One thread, and nothing is
 * allocated per query. One search at a time; calls from several threads wait for each other.
 *
 * <p>There are two ways to the same integers, because the compilers differ. Android's vectorises the plain loop over the
 * values of a row (to SDOT where the processor has it), and rows are read where the file is mapped. HotSpot's does not;
 * there the rows are kept in another order, see {@link LaneScores}.
 */
public final class FlatIndex implements Index {
    private static final boolean ON_ANDROID = "Dalvik".equals(System.getProperty("java.vm.name"));
    private static final int BLOCK_BYTES = 1 << 16;

    private final int count;
    private final int dimension;
    private final ByteBuffer rows;
    private final LaneScores lanes;
    private final byte[] block;

    /** An index for this machine. */
    public FlatIndex(Gallery gallery) {
        this(gallery, !ON_ANDROID);
    }

    /** The index as it would be on Android, wherever this is: for tests and benchmarks. */
    public static FlatIndex plain(Gallery gallery) {
        return new FlatIndex(gallery, false);
    }

    /** @param inLanes which way; the results are the same */
    FlatIndex(Gallery gallery, boolean inLanes) {
        rows = gallery.rows();
        count = gallery.count();
        dimension = gallery.dimension();
        lanes = inLanes ? new LaneScores(rows, count, dimension) : null;
        block = inLanes ? null : new byte[Math.max(1, BLOCK_BYTES / dimension) * dimension];
    }

    @Override
    public int count() {
        return count;
    }

    @Override
    public synchronized void search(byte[] query, int k, TopK into) {
        if (query.length != dimension) {
            throw new IllegalArgumentException("a query of " + query.length + " values, rows of " + dimension);
        }
        into.start(k);
        if (lanes != null) {
            lanes.search(query, into);
            return;
        }
        int step = block.length / dimension;
        for (int from = 0; from < count; from += step) {
            int some = Math.min(step, count - from);
            rows.position(from * dimension);
            rows.get(block, 0, some * dimension);
            for (int row = 0; row < some; row++) {
                int dot = dot(block, row * dimension, query);
                if (dot > into.threshold()) {
                    into.offer(from + row, dot);
                }
            }
        }
    }

    /** Inner product of a query and the row that starts at {@code at}. */
    static int dot(byte[] rows, int at, byte[] query) {
        int dot = 0;
        for (int d = 0; d < query.length; d++) {
            dot += rows[at + d] * query[d];
        }
        return dot;
    }

    /** Rows in blocks, two values to a short: the inner loop runs across rows, which HotSpot's compiler vectorises. */
    static final class LaneScores {
        private static final int BLOCK = 2048; // rows; its sums stay in the first cache
        private static final int NARROW = 32767;

        private final int count;
        private final int dimension;
        private final int pairs;
        // Block b, pair p, row j of the block: packed[(b * pairs + p) * BLOCK + j] = first value + 128 + 256 * second.
        private final short[][] packed;
        private final char[] sums = new char[BLOCK];
        private final short[] factors;
        private long longest; // squared length of the longest row

        LaneScores(ByteBuffer all, int count, int dimension) {
            this.count = count;
            this.dimension = dimension;
            pairs = (dimension + 1) / 2;
            factors = new short[2 * pairs];
            packed = new short[(count + BLOCK - 1) / BLOCK][];
            byte[] row = new byte[dimension];
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
         * With w = (a + 128) + 256 b: {@code q0 a + q1 b = q0 w + (q1 - 256 q0) (w >> 8) - 128 q0}. All of it is taken
         * modulo 2^16, which is exact where the result fits into 16 bits; for rows of unit length it does, since no inner
         * product exceeds the product of the lengths.
         */
        void search(byte[] query, TopK into) {
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

        // char[], not short[]: a store into an array of the type that is read keeps HotSpot 17 from vectorising.
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

        /** For rows that are longer than any embedding. */
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
}
