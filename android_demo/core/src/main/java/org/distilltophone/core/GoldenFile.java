package org.distilltophone.core;

import java.util.Locale;

/** A golden image as a PNG or JPEG file, and the expected result of each step of its preprocessing. */
public final class GoldenFile {
    public final String file;
    /** Index of the golden image. */
    public final int row;
    /** Size in pixels, decoded and upright. */
    public final int width;
    public final int height;
    /** SHA-256 of the upright RGB bytes, row by row, hex digits. */
    public final String decodedSha256;
    /** SHA-256 of the RGB bytes after resize and crop, hex digits. */
    public final String pixelsSha256;

    GoldenFile(String file, int row, int width, int height, String decodedSha256, String pixelsSha256) {
        this.file = file;
        this.row = row;
        this.width = width;
        this.height = height;
        this.decodedSha256 = decodedSha256;
        this.pixelsSha256 = pixelsSha256;
    }

    /** Returns whether every decoder must produce the same pixels. */
    public boolean lossless() {
        return file.toLowerCase(Locale.ROOT).endsWith(".png");
    }
}
