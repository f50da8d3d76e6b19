package org.distilltophone.core;

/** A delegate is missing, does not start, or does not support the model; the message says which. */
public final class DelegateException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** @param why one line for the user */
    public DelegateException(String why, Throwable cause) {
        super(why, cause);
    }
}
