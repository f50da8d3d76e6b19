package org.distilltophone.jvm;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.distilltophone.core.FlatIndex;
import org.distilltophone.core.Gallery;
import org.distilltophone.core.Index;
import org.distilltophone.core.TopK;

/**
 * Search with a prefilter on sign bits: only the rows whose signs differ least from the query's are compared in full.
 *
 * <p>It may miss a neighbour that {@link FlatIndex} finds; docs/gallery.md states how many. The candidates are the same
 * rows as in Python. Thread-safe; concurrent calls wait for each other.
 */
final class PrefilterIndex implements Index {
    private static final int PER_ANSWER = 64;
    private static final int SHARE = 50;

    private final int count;
    private final int dimension;
    private final int words;
    private final long[] bits;
    private final short[] distances;
    private final int[] within;
    private final long[] signs;
    private final byte[] row;
    private final ByteBuffer rows;
    private final Index exact;

    /** Uses the sign bits of an int8 gallery, or computes them from the rows. */
    PrefilterIndex(Gallery gallery) {
        this(gallery.rows(), gallery.count(), gallery.dimension(), gallery.isFloat() ? null : gallery.bits(),
            new FlatIndex(gallery));
    }

    /**
     * @param rows int8 [count][dimension], from position 0
     * @param bitsOrNull sign bits of the rows; null: computed here
     * @param exact used if all rows are candidates
     */
    PrefilterIndex(ByteBuffer rows, int count, int dimension, ByteBuffer bitsOrNull, Index exact) {
        this.rows = rows;
        this.count = count;
        this.dimension = dimension;
        this.exact = exact;
        words = (dimension + 63) / 64;
        bits = new long[Math.multiplyExact(count, words)];
        distances = new short[count];
        within = new int[dimension + 1];
        signs = new long[words];
        row = new byte[dimension];
        if (bitsOrNull != null) {
            bitsOrNull.duplicate().order(ByteOrder.LITTLE_ENDIAN).asLongBuffer().get(bits);
            return;
        }
        for (int i = 0; i < count; i++) {
            rows.get(row);
            signs(row, bits, i * words);
        }
    }

    /** Returns the default index of a gallery: with the prefilter if it has sign bits, else exact. */
    static Index best(Gallery gallery) {
        return gallery.bits() != null ? new PrefilterIndex(gallery) : new FlatIndex(gallery);
    }

    @Override
    public synchronized void search(byte[] query, int k, TopK into) {
        FlatIndex.checkQuery(query, dimension);
        int wanted = Math.min(count, (int) Math.min(Integer.MAX_VALUE, Math.max((long) PER_ANSWER * Math.min(k, count),
            (count + SHARE - 1L) / SHARE)));
        if (wanted == count) {
            exact.search(query, k, into);
            return;
        }
        signs(query, signs, 0);
        measure();
        int limit = 0;
        for (int sum = within[0]; sum < wanted; sum += within[limit]) {
            limit++;
        }
        into.start(k);
        for (int i = 0; i < count; i++) {
            if ((distances[i] & 0xFFFF) <= limit) {
                rows.position(i * dimension);
                rows.get(row);
                int dot = FlatIndex.dot(row, 0, query);
                if (dot > into.threshold()) {
                    into.offer(i, dot);
                }
            }
        }
    }

    /** Computes all distances and their histogram. A short holds up to 65535; 65536 is clipped to it. */
    private void measure() {
        Arrays.fill(within, 0);
        if (words == 2) {
            long first = signs[0];
            long second = signs[1];
            for (int i = 0; i < count; i++) {
                int distance = Long.bitCount(bits[2 * i] ^ first) + Long.bitCount(bits[2 * i + 1] ^ second);
                distances[i] = (short) distance;
                within[distance]++;
            }
            return;
        }
        for (int i = 0, at = 0; i < count; i++) {
            int distance = 0;
            for (int w = 0; w < words; w++, at++) {
                distance += Long.bitCount(bits[at] ^ signs[w]);
            }
            distance = Math.min(distance, 0xFFFF);
            distances[i] = (short) distance;
            within[distance]++;
        }
    }

    private static void signs(byte[] row, long[] into, int at) {
        Arrays.fill(into, at, at + (row.length + 63) / 64, 0);
        for (int d = 0; d < row.length; d++) {
            if (row[d] >= 0) {
                into[at + d / 64] |= 1L << d % 64;
            }
        }
    }
}
