package org.distilltophone.core;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Search by sign bits first and int8 then: the rows whose signs differ least from the query's are compared in full. It may
 * miss a neighbour that {@link FlatIndex} finds; docs/gallery.md says how many. Candidates are those of Python, to the row.
 * One search at a time; calls from several threads wait for each other.
 */
public final class PrefilterIndex implements Index {
    private static final int PER_ANSWER = 64;
    private static final int SHARE = 50;

    private final Gallery gallery;
    private final int count;
    private final int dimension;
    private final int words;
    private final long[] bits;
    private final short[] distances;
    private final int[] within;
    private final long[] signs;
    private final byte[] row;
    private final ByteBuffer rows;
    private FlatIndex exact;

    /** @param gallery one with sign bits, or any: they are made of its rows where it has none */
    public PrefilterIndex(Gallery gallery) {
        this.gallery = gallery;
        count = gallery.count();
        dimension = gallery.dimension();
        words = (dimension + 63) / 64;
        bits = new long[Math.multiplyExact(count, words)];
        distances = new short[count];
        within = new int[dimension + 1];
        signs = new long[words];
        row = new byte[dimension];
        rows = gallery.rows();
        ByteBuffer stored = gallery.isFloat() ? null : gallery.bits();
        if (stored != null) {
            stored.duplicate().order(stored.order()).asLongBuffer().get(bits);
            return;
        }
        for (int i = 0; i < count; i++) {
            rows.get(row);
            signs(row, bits, i * words);
        }
    }

    /** The index that suits a gallery: by signs where it has them, else exact. */
    public static Index best(Gallery gallery) {
        return gallery.bits() != null ? new PrefilterIndex(gallery) : new FlatIndex(gallery);
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
        int wanted = Math.min(count, (int) Math.min(Integer.MAX_VALUE, Math.max((long) PER_ANSWER * Math.min(k, count),
            (count + SHARE - 1L) / SHARE)));
        if (wanted == count) {
            if (exact == null) {
                exact = new FlatIndex(gallery);
            }
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

    /** Distances of all rows, and how many rows have each. At most 65535 dimensions fit a short; 65536 is clipped. */
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

    static void signs(byte[] row, long[] into, int at) {
        Arrays.fill(into, at, at + (row.length + 63) / 64, 0);
        for (int d = 0; d < row.length; d++) {
            if (row[d] >= 0) {
                into[at + d / 64] |= 1L << d % 64;
            }
        }
    }
}
