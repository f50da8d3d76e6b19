package org.distilltophone.core;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;

/** Reads the orientation tag of a JPEG or PNG. Java's decoder and Android's older one do not rotate images themselves. */
public final class Exif {
    private static final int MAX_SEGMENTS = 1000;
    private static final int ORIENTATION = 0x0112;
    private static final int SHORT = 3;
    private static final int MAX_BLOCK = 1 << 20;
    private static final int PNG_EXIF = 'e' << 24 | 'X' << 16 | 'I' << 8 | 'f';
    private static final int PNG_END = 'I' << 24 | 'E' << 16 | 'N' << 8 | 'D';

    private Exif() {}

    /**
     * Returns the EXIF orientation.
     *
     * @param stream the file from its start; read at most up to the pixels (PNG: to the end), not closed
     * @return 1 to 8; 1 if the file is not a JPEG or PNG, or if its EXIF data is missing or damaged: the pixels may still be
     *     intact
     */
    public static int orientation(InputStream stream) {
        try {
            return find(stream);
        } catch (IOException damaged) {
            return 1;
        }
    }

    private static int find(InputStream stream) throws IOException {
        int first = next(stream);
        int second = next(stream);
        if (first == 0x89 && second == 'P') {
            return findInPng(stream);
        }
        if (first != 0xFF || second != 0xD8) {
            return 1;
        }
        for (int i = 0; i < MAX_SEGMENTS; i++) {
            if (next(stream) != 0xFF) {
                return 1;
            }
            int marker = next(stream);
            while (marker == 0xFF) {
                marker = next(stream);
            }
            if (marker == 0x01 || marker >= 0xD0 && marker <= 0xD8) {
                continue; // no content
            }
            if (marker == 0xD9 || marker == 0xDA) {
                return 1; // start of the pixels
            }
            int length = (next(stream) << 8 | next(stream)) - 2;
            if (length < 0) {
                return 1;
            }
            if (marker != 0xE1) {
                skip(stream, length);
                continue;
            }
            byte[] segment = new byte[length];
            fill(stream, segment);
            if (startsWithExif(segment)) {
                return read(segment, 6);
            }
        }
        return 1;
    }

    private static int findInPng(InputStream stream) throws IOException {
        skip(stream, 6); // the rest of the signature
        for (int i = 0; i < MAX_SEGMENTS; i++) {
            int length = word(stream);
            int type = word(stream);
            if (type == PNG_END || length < 0) {
                return 1;
            }
            if (type == PNG_EXIF && length >= 8 && length <= MAX_BLOCK) {
                byte[] block = new byte[length];
                fill(stream, block);
                return read(block, 0);
            }
            skip(stream, length);
            skip(stream, 4); // checksum
        }
        return 1;
    }

    private static int word(InputStream stream) throws IOException {
        return next(stream) << 24 | next(stream) << 16 | next(stream) << 8 | next(stream);
    }

    private static boolean startsWithExif(byte[] b) {
        return b.length >= 14 && b[0] == 'E' && b[1] == 'x' && b[2] == 'i' && b[3] == 'f' && b[4] == 0 && b[5] == 0;
    }

    /** Reads the orientation from the first directory of the TIFF block that starts at {@code tiff}. */
    private static int read(byte[] b, int tiff) {
        boolean little = b[tiff] == 'I' && b[tiff + 1] == 'I';
        if (!little && !(b[tiff] == 'M' && b[tiff + 1] == 'M')) {
            return 1;
        }
        long directory = u32(b, tiff + 4, little);
        if (u16(b, tiff + 2, little) != 42 || directory < 8 || tiff + directory + 2 > b.length) {
            return 1;
        }
        int at = (int) (tiff + directory);
        int entries = u16(b, at, little);
        at += 2;
        for (int i = 0; i < entries && at + 12 <= b.length; i++, at += 12) {
            if (u16(b, at, little) == ORIENTATION) {
                boolean good = u16(b, at + 2, little) == SHORT && u32(b, at + 4, little) == 1;
                int value = u16(b, at + 8, little);
                return good && value >= 1 && value <= 8 ? value : 1;
            }
        }
        return 1;
    }

    private static int u16(byte[] b, int at, boolean little) {
        int first = b[at] & 255;
        int second = b[at + 1] & 255;
        return little ? second << 8 | first : first << 8 | second;
    }

    private static long u32(byte[] b, int at, boolean little) {
        long first = u16(b, at, little);
        long second = u16(b, at + 2, little);
        return little ? second << 16 | first : first << 16 | second;
    }

    private static int next(InputStream stream) throws IOException {
        int value = stream.read();
        if (value < 0) {
            throw new EOFException();
        }
        return value;
    }

    private static void fill(InputStream stream, byte[] into) throws IOException {
        for (int at = 0; at < into.length;) {
            int got = stream.read(into, at, into.length - at);
            if (got < 0) {
                throw new EOFException();
            }
            at += got;
        }
    }

    private static void skip(InputStream stream, int count) throws IOException {
        byte[] scratch = new byte[Math.min(count, 4096)];
        for (int left = count; left > 0;) {
            int got = stream.read(scratch, 0, Math.min(left, scratch.length));
            if (got < 0) {
                throw new EOFException();
            }
            left -= got;
        }
    }
}
