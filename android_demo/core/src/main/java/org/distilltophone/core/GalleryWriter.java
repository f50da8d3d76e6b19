package org.distilltophone.core;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;

/** Writes a gallery file row by row: under a temporary name until {@link #finish}. */
public final class GalleryWriter implements Closeable {
    /** @param file becomes the gallery; replaced if it is there */
    public GalleryWriter(File file, GalleryModel model, int dimension) throws IOException {
        throw new UnsupportedOperationException();
    }

    /**
     * Adds a row.
     *
     * @param id unique, not empty
     * @param row int8, see {@link Int8#quantize}
     * @param jpegOrNull thumbnail
     */
    public void add(String id, byte[] row, byte[] jpegOrNull) throws IOException {
        throw new UnsupportedOperationException();
    }

    /** Completes the file and gives it its name. */
    public void finish() throws IOException {
        throw new UnsupportedOperationException();
    }

    /** Without {@link #finish}: leaves nothing behind. */
    @Override
    public void close() throws IOException {
        throw new UnsupportedOperationException();
    }
}
