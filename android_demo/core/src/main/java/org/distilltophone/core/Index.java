package org.distilltophone.core;

/** Search in the rows of a gallery. */
public interface Index {
    /**
     * Finds the rows most similar to a query. Allocates nothing, unless {@code into} is too small for {@code k}.
     *
     * @param query int8 codes, see {@link Int8#quantize}
     * @param k number of results
     * @param into receives rows and cosines, best first; ties go to the lower row
     */
    void search(byte[] query, int k, TopK into);
}
