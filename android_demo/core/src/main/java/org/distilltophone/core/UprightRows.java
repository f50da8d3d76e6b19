package org.distilltophone.core;

/** The rows of a picture turned upright, as RGB, without a turned copy of the whole picture. */
final class UprightRows {
    // Rows of a turned picture are columns of the stored one: read in bands, since neighbours share cache lines.
    private static final int BAND = 16;

    final int width;
    final int height;
    private final PixelSource stored;
    private final int orientation;
    private final boolean turned;
    private final boolean mirrored;
    private final boolean fromEnd;
    private final int[] band;
    private int bandFirst = -1;
    private int bandLines;

    UprightRows(PixelSource stored, int orientation) {
        this.stored = stored;
        this.orientation = orientation < 1 || orientation > 8 ? 1 : orientation;
        turned = this.orientation >= 5;
        width = turned ? stored.height() : stored.width();
        height = turned ? stored.width() : stored.height();
        if (width < 1 || height < 1) {
            throw new IllegalArgumentException("a picture of " + width + " x " + height + " pixels");
        }
        // Orientation: where stored (column, row) goes. Within an upright row, x counts along a stored row or column.
        mirrored = this.orientation == 2 || this.orientation == 3 || this.orientation == 6 || this.orientation == 7;
        fromEnd = this.orientation == 3 || this.orientation == 4 || this.orientation == 7 || this.orientation == 8;
        band = new int[Math.multiplyExact(width, turned ? Math.min(BAND, height) : 1)];
    }

    /** Row {@code y} of the upright picture: {@code rgb[3 * x + channel]}, transparency laid over white. */
    void read(int y, byte[] rgb) {
        int line = fromEnd ? height - 1 - y : y;
        int offset = 0;
        int step = 1;
        if (turned) {
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

    /** Pillow's alpha_composite over opaque white, to the bit. */
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
