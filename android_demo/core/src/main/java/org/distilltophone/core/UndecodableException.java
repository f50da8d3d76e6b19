package org.distilltophone.core;

/** An image cannot be decoded, now or later. */
public final class UndecodableException extends Exception {
    private static final long serialVersionUID = 1;

    /** @param why one line for the user */
    public UndecodableException(String why) {
        super(why);
    }
}
