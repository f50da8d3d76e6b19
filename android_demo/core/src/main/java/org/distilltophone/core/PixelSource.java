package org.distilltophone.core;

/**
 * Access to a decoded image as it is stored, before rotation.
 *
 * <p>On Android this is a Bitmap decoded with {@code inPremultiplied = false} and {@code ARGB_8888}, read with {@code
 * getPixels}, so a large photo is not copied.
 */
public interface PixelSource {
    int width();

    int height();

    /**
     * Copies a rectangle.
     *
     * @param into receives ARGB at {@code into[row * w + column]}, 8 bits per channel, alpha not premultiplied
     */
    void read(int x, int y, int w, int h, int[] into);
}
