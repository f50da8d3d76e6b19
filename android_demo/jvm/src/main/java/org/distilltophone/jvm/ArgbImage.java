package org.distilltophone.jvm;

import org.distilltophone.core.Exif;
import org.distilltophone.core.PixelSource;

/** A decoded image in memory: {@code argb[y * width + x]}, 8 bits per channel, alpha not premultiplied (255: opaque). */
class ArgbImage implements PixelSource {
    final int[] argb;
    private final int width;
    private final int height;

    /** @throws IllegalArgumentException the size does not fit the array */
    ArgbImage(int[] argb, int width, int height) {
        if (width < 1 || height < 1 || (long) width * height != argb.length) {
            throw new IllegalArgumentException(width + " x " + height + " pixels in " + argb.length + " values");
        }
        this.argb = argb;
        this.width = width;
        this.height = height;
    }

    @Override
    public int width() {
        return width;
    }

    @Override
    public int height() {
        return height;
    }

    @Override
    public void read(int x, int y, int w, int h, int[] into) {
        for (int row = 0; row < h; row++) {
            System.arraycopy(argb, (y + row) * width + x, into, row * w, w);
        }
    }

    /**
     * Returns the image rotated and mirrored to its upright position.
     *
     * @param orientation EXIF orientation, 1 to 8, see {@link Exif#orientation}; other values change nothing
     */
    ArgbImage upright(int orientation) {
        if (orientation < 2 || orientation > 8) {
            return this;
        }
        boolean sideways = orientation >= 5;
        int w = sideways ? height : width;
        int h = sideways ? width : height;
        int[] out = new int[argb.length];
        // Where output pixel (0, 0) comes from, and how far one step right or down goes in the input.
        int right = width - 1;
        int bottom = (height - 1) * width;
        int start;
        int dx;
        int dy;
        switch (orientation) {
            case 2: start = right; dx = -1; dy = width; break;
            case 3: start = bottom + right; dx = -1; dy = -width; break;
            case 4: start = bottom; dx = 1; dy = -width; break;
            case 5: start = 0; dx = width; dy = 1; break;
            case 6: start = bottom; dx = -width; dy = 1; break;
            case 7: start = bottom + right; dx = -width; dy = -1; break;
            default: start = right; dx = width; dy = -1; break;
        }
        for (int y = 0, at = 0; y < h; y++) {
            for (int x = 0, from = start + y * dy; x < w; x++, from += dx) {
                out[at++] = argb[from];
            }
        }
        return new ArgbImage(out, w, h);
    }
}
