package org.distilltophone.core;

/** A photo that cannot be decoded, now or later. */
public final class UndecodableException extends Exception {
    private static final long serialVersionUID = 1;

    /** @param why one line for people */
    public UndecodableException(String why) {
        super(why);
    }
}
