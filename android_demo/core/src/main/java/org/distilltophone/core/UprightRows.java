package org.distilltophone.core;

/** Reads the rows of an image in its upright orientation, as RGB, without a rotated copy of the whole image. */
final class UprightRows {
    // Rows of a sideways image are columns of the stored one. They are read in bands, because neighbours share cache lines.
    private static final int BAND = 16;

    final int width;
    final int height;
    private final PixelSource stored;
    private final int orientation;
    private final boolean sideways;
    private final boolean mirrored;
    private final boolean fromEnd;
    private final int[] band;
    private int bandFirst = -1;
    private int bandLines;

    UprightRows(PixelSource stored, int orientation) {
        this.stored = stored;
        this.orientation = orientation < 1 || orientation > 8 ? 1 : orientation;
        sideways = this.orientation >= 5;
        width = sideways ? stored.height() : stored.width();
        height = sideways ? stored.width() : stored.height();
        if (width < 1 || height < 1) {
            throw new IllegalArgumentException("an image of " + width + " x " + height + " pixels");
        }
        // Within an upright row, x runs along a stored row, or along a stored column if the image is sideways.
        mirrored = this.orientation == 2 || this.orientation == 3 || this.orientation == 6 || this.orientation == 7;
        fromEnd = this.orientation == 3 || this.orientation == 4 || this.orientation == 7 || this.orientation == 8;
        band = new int[Math.multiplyExact(width, sideways ? Math.min(BAND, height) : 1)];
    }

    /** Reads row {@code y} of the upright image as {@code rgb[3 * x + channel]}, with transparency composited over white. */
    void read(int y, byte[] rgb) {
        int line = fromEnd ? height - 1 - y : y;
        int offset = 0;
        int step = 1;
        if (sideways) {
            int first = line - line % BAND;
            if (first != bandFirst) {
                bandLines = Math.min(BAND, height - first);
                stored.read(first, 0, bandLines, width, band);
                bandFirst = first;
            }
            offset = line - first;
            step = bandLines;
        } else {
            stored.read(0, line, width, 1, band);
        }
        if (mirrored) {
            offset += (width - 1) * step;
            step = -step;
        }
        for (int x = 0, at = 0; x < width; x++, offset += step) {
            int value = band[offset];
            if (value >>> 24 != 255) {
                value = overWhite(value);
            }
            rgb[at++] = (byte) (value >> 16);
            rgb[at++] = (byte) (value >> 8);
            rgb[at++] = (byte) value;
        }
    }

    /** Computes Pillow's alpha_composite over opaque white, bit for bit. */
    static int overWhite(int argb) {
        int alpha = argb >>> 24;
        if (alpha == 0) {
            return 0xFFFFFFFF;
        }
        int share = (alpha * 255 * 255 * 128) / (255 * 255);
        int rest = 255 * 128 - share;
        return 0xFF000000 | mix(argb >> 16 & 255, share, rest) << 16 | mix(argb >> 8 & 255, share, rest) << 8
            | mix(argb & 255, share, rest);
    }

    private static int mix(int value, int share, int rest) {
        int sum = value * share + 255 * rest + (128 << 7);
        return ((sum >> 8) + sum >> 8) >> 7;
    }
}
