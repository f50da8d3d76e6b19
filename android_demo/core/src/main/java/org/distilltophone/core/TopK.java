package org.distilltophone.core;

/**
 * The k best rows of a search, best first. Made once, used for any number of searches: nothing is allocated by them.
 *
 * <p>Of rows with equal scores the lower one is better.
 */
public final class TopK {
    private int[] rows;
    private int[] dots;
    private int wanted;
    private int size;

    /** @param capacity the most results that it will be asked for, at least 1 */
    public TopK(int capacity) {
        if (capacity < 1) {
            throw new IllegalArgumentException("capacity " + capacity);
        }
        rows = new int[capacity];
        dots = new int[capacity];
    }

    /** How many results there are: k, or fewer where the gallery has fewer rows. */
    public int size() {
        return size;
    }

    /** The row of result {@code i}, 0 the best. */
    public int row(int i) {
        return rows[check(i)];
    }

    /** The cosine of result {@code i}, -1 to 1 up to the rounding to int8. */
    public float score(int i) {
        return (float) (dots[check(i)] * (Int8.SCALE * Int8.SCALE));
    }

    /** The inner product of the int8 rows. */
    public int dot(int i) {
        return dots[check(i)];
    }

    private int check(int i) {
        if (i < 0 || i >= size) {
            throw new IndexOutOfBoundsException("result " + i + " of " + size);
        }
        return i;
    }

    void start(int k) {
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

    /** What a later row has to exceed to get in. */
    int threshold() {
        return size < wanted ? Integer.MIN_VALUE : dots[size - 1];
    }

    /** Takes a row in where it belongs; rows may come in any order. */
    void offer(int row, int dot) {
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
