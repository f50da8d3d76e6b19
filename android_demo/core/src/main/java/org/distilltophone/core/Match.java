package org.distilltophone.core;

/** One result of a search. */
public final class Match {
    public final String id;
    /** Cosine: -1 to 1, up to the rounding to int8. */
    public final float score;

    public Match(String id, float score) {
        this.id = id;
        this.score = score;
    }
}
