package org.distilltophone.core;

/**
 * Exact search over the int8 rows of a gallery: inner products with every row, the k largest. One thread, and nothing is
 * allocated per query. One search at a time; calls from several threads wait for each other.
 */
public final class FlatIndex {
    private final int count;
    private final int dimension;
    private final double scale;
    private final byte[] rows;

    /** Copies the rows of the gallery. */
    public FlatIndex(Gallery gallery) {
        count = gallery.count();
        dimension = gallery.dimension();
        scale = gallery.isFloat() ? Int8.SCALE : gallery.scale();
        rows = new byte[Math.multiplyExact(count, dimension)];
        gallery.read(0, count, rows);
    }

    public int count() {
        return count;
    }

    /**
     * The rows most similar to a query.
     *
     * @param query int8, see {@link Int8#quantize}
     * @param k how many
     * @param into takes the results: rows and cosines, best first; of equal ones the lower row first
     */
    public synchronized void search(byte[] query, int k, TopK into) {
        if (query.length != dimension) {
            throw new IllegalArgumentException("a query of " + query.length + " values, rows of " + dimension);
        }
        into.start(k, (float) (scale * Int8.SCALE));
        for (int row = 0, at = 0; row < count; row++) {
            int dot = 0;
            for (int d = 0; d < dimension; d++, at++) {
                dot += rows[at] * query[d];
            }
            if (dot > into.threshold()) {
                into.offer(row, dot);
            }
        }
    }
}
