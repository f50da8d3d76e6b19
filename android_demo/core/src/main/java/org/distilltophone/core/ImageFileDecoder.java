package org.distilltophone.core;

import java.io.Closeable;
import java.io.IOException;

/**
 * Encoded pictures to pixels, as docs/preprocessing.md has it: whole, 8 bits, colours taken as the numbers they are. Android's
 * own decoder on a phone, Java's on a computer: it is chosen when the program starts.
 */
public interface ImageFileDecoder {
    /** A decoded picture as it is stored; to be closed, for a large one may lie outside Java's heap. */
    interface Decoded extends PixelSource, Closeable {
        /** How it still has to be turned, 1 to 8 as {@link Exif#orientation} gives it. */
        int orientation();

        @Override
        void close();
    }

    /** Whose it is, such as "ImageDecoder". */
    String name();

    /** Its version, or that of the system that it came with. */
    String version();

    /**
     * Decodes a JPEG, PNG, or whatever else it knows.
     *
     * @param file the whole content; what stands behind the picture is not read
     * @throws UndecodableException no picture, a broken one, one that {@link Preprocessing#refusal} refuses, or a kind that this
     *     decoder does not know; the message says which
     * @throws IOException there is no memory for it now
     */
    Decoded decode(byte[] file) throws IOException, UndecodableException;
}
