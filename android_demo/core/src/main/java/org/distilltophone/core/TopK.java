package org.distilltophone.core;

/**
 * The k best rows of a search, best first. An instance is reused by any number of searches, which allocate nothing.
 *
 * <p>Of rows with equal scores, the lower row ranks first.
 */
public final class TopK {
    private int[] rows;
    private int[] dots;
    private int wanted;
    private int size;

    /** @param capacity largest number of results, at least 1; a larger k makes it grow */
    public TopK(int capacity) {
        if (capacity < 1) {
            throw new IllegalArgumentException("capacity " + capacity);
        }
        rows = new int[capacity];
        dots = new int[capacity];
    }

    /** Returns the number of results: k, or fewer if the gallery has fewer rows. */
    public int size() {
        return size;
    }

    /** Returns the row of result {@code i}; 0 is the best. */
    public int row(int i) {
        return rows[check(i)];
    }

    /** Returns the cosine of result {@code i}: -1 to 1, up to the rounding to int8. */
    public float score(int i) {
        return (float) (dots[check(i)] * (Int8.SCALE * Int8.SCALE));
    }

    /** Returns the inner product of the int8 codes of result {@code i}. */
    public int dot(int i) {
        return dots[check(i)];
    }

    private int check(int i) {
        if (i < 0 || i >= size) {
            throw new IndexOutOfBoundsException("result " + i + " of " + size);
        }
        return i;
    }

    /** Starts a new search; called by an {@link Index}. */
    public void start(int k) {
        if (k < 1) {
            throw new IllegalArgumentException("k " + k);
        }
        if (k > rows.length) {
            rows = new int[k];
            dots = new int[k];
        }
        wanted = k;
        size = 0;
    }

    /** Returns the inner product that a later row has to exceed to become a result. */
    public int threshold() {
        return size < wanted ? Integer.MIN_VALUE : dots[size - 1];
    }

    /** Inserts a row if it is among the k best so far. Rows may come in any order. */
    public void offer(int row, int dot) {
        if (size == wanted && !better(row, dot, size - 1)) {
            return;
        }
        int at = size < wanted ? size++ : size - 1;
        while (at > 0 && better(row, dot, at - 1)) {
            rows[at] = rows[at - 1];
            dots[at] = dots[at - 1];
            at--;
        }
        rows[at] = row;
        dots[at] = dot;
    }

    private boolean better(int row, int dot, int than) {
        return dot > dots[than] || (dot == dots[than] && row < rows[than]);
    }
}
