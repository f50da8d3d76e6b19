package org.distilltophone.core;

import java.io.IOException;

/** A file that is missing, damaged, foreign or hostile. The message says what and where, {@link #cure} what to do. */
public final class BadFileException extends IOException {
    private static final long serialVersionUID = 1;

    /** What helps, for people. */
    public final String cure;

    public BadFileException(String what, String cure) {
        super(what);
        this.cure = cure;
    }
}
