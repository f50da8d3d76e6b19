package org.distilltophone.core;

/** What was to compute a model is not there, does not start, or does not take this model; the message says which. */
public final class DelegateException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** @param why one line for people */
    public DelegateException(String why, Throwable cause) {
        super(why, cause);
    }
}
