package org.distilltophone.core;

/**
 * Access to a decoded picture as it is stored, before any turning.
 *
 * <p>On Android: a Bitmap decoded with {@code inPremultiplied = false} and {@code ARGB_8888}, and {@code getPixels}; so no
 * second copy of a large photo is made.
 */
public interface PixelSource {
    int width();

    int height();

    /**
     * Copies a rectangle.
     *
     * @param into {@code into[row * w + column]} becomes ARGB, 8 bits a channel, alpha not multiplied in
     */
    void read(int x, int y, int w, int h, int[] into);
}
