package org.distilltophone.core;

import java.io.Closeable;
import java.io.IOException;

/**
 * Decodes image files as docs/preprocessing.md specifies: at full size, 8 bits per channel, without colour conversion.
 * Implemented with Android's decoder on a phone and with Java's on a computer.
 */
public interface ImageFileDecoder {
    /** A decoded image as it is stored. Close it: its memory may be outside Java's heap. */
    interface Decoded extends PixelSource, Closeable {
        /** Returns the EXIF orientation that remains to be applied, 1 to 8; see {@link Exif#orientation}. */
        int orientation();

        @Override
        void close();
    }

    /** Returns the name of the decoder, for example "ImageDecoder". */
    String name();

    /** Returns the version of the decoder, or of the system that contains it. */
    String version();

    /**
     * Decodes a JPEG, a PNG, or another format that the decoder supports.
     *
     * @param file the whole content; bytes after the image are ignored
     * @throws UndecodableException not an image, damaged, refused by {@link Preprocessing#refusal}, or of an unsupported
     *     kind; the message says which
     * @throws IOException there is not enough memory now
     */
    Decoded decode(byte[] file) throws IOException, UndecodableException;
}
