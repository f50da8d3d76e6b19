package org.distilltophone.core;

import java.nio.ByteBuffer;

/**
 * Exact search over the int8 rows of a gallery: the inner product with every row. Single-threaded, without allocations
 * per query. Thread-safe; concurrent calls wait for each other.
 *
 * <p>Rows are read from the mapped file. Android's compiler vectorizes the inner product (to SDOT if the processor has
 * it). HotSpot does not; see {@code LaneIndex} in module {@code jvm}.
 */
public final class FlatIndex implements Index {
    private static final int BLOCK_BYTES = 1 << 16;

    private final int count;
    private final int dimension;
    private final ByteBuffer rows;
    private final byte[] block;

    public FlatIndex(Gallery gallery) {
        rows = gallery.rows();
        count = gallery.count();
        dimension = gallery.dimension();
        block = new byte[Math.max(1, BLOCK_BYTES / dimension) * dimension];
    }

    @Override
    public synchronized void search(byte[] query, int k, TopK into) {
        checkQuery(query, dimension);
        into.start(k);
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

    /** Returns the inner product of a query and the row that starts at {@code at}. */
    public static int dot(byte[] rows, int at, byte[] query) {
        int dot = 0;
        for (int d = 0; d < query.length; d++) {
            dot += rows[at + d] * query[d];
        }
        return dot;
    }

    /** @throws IllegalArgumentException the query has another dimension than the rows */
    public static void checkQuery(byte[] query, int dimension) {
        if (query.length != dimension) {
            throw new IllegalArgumentException("a query of " + query.length + " values, rows of " + dimension);
        }
    }
}
