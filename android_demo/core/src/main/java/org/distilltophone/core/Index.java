package org.distilltophone.core;

/** A gallery that can be searched. */
public interface Index {
    /** Rows. */
    int count();

    /**
     * The rows most similar to a query. Nothing is allocated, except where {@code into} is too small for {@code k}.
     *
     * @param query int8, see {@link Int8#quantize}
     * @param k how many
     * @param into takes the results: rows and cosines, best first; of equal ones the lower row first
     */
    void search(byte[] query, int k, TopK into);
}
