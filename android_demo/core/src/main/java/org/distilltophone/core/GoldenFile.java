package org.distilltophone.core;

/** A golden image as a PNG or JPEG file, and what each step on the way to its row must give. */
public final class GoldenFile {
    public final String file;
    /** Which golden image it becomes. */
    public final int row;
    /** Decoded and upright, pixels. */
    public final int width;
    public final int height;
    /** Of the upright RGB bytes, row by row, hex digits. */
    public final String decodedSha256;
    /** After resize and crop. */
    public final String pixelsSha256;

    GoldenFile(String file, int row, int width, int height, String decodedSha256, String pixelsSha256) {
        this.file = file;
        this.row = row;
        this.width = width;
        this.height = height;
        this.decodedSha256 = decodedSha256;
        this.pixelsSha256 = pixelsSha256;
    }

    /** Whether every decoder must give the same pixels. */
    public boolean lossless() {
        return file.toLowerCase(java.util.Locale.ROOT).endsWith(".png");
    }
}
