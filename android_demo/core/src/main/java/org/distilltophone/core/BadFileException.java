package org.distilltophone.core;

import java.io.IOException;

/** A file is missing, damaged, foreign or hostile. The message says what is wrong and where; {@link #cure} says what to do. */
public final class BadFileException extends IOException {
    private static final long serialVersionUID = 1;

    /** What the user can do about it. */
    public final String cure;

    public BadFileException(String what, String cure) {
        super(what);
        this.cure = cure;
    }
}
