package org.distilltophone.core;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/**
 * Converts a decoded image to the pixels of the model, bit for bit as Python does (docs/preprocessing.md).
 *
 * <p>The shorter side is resized to {@code resizeSize} with Pillow's antialiased bilinear filter; then a central square of
 * {@code inputSize} is cropped.
 */
public final class Preprocessing {
    /** Side of the cropped square in pixels. */
    public final int inputSize;
    /** Shorter side after the resize in pixels. */
    public final int resizeSize;
    final double[] mean;
    final double[] std;

    /**
     * @param mean per channel, in units of pixel values 0 to 255; {@code std} likewise, above 0
     * @throws IllegalArgumentException a size outside 1 to 4096, or an input larger than the resized image
     */
    public Preprocessing(int inputSize, int resizeSize, double[] mean, double[] std) {
        if (inputSize < 1 || resizeSize < inputSize || resizeSize > 4096 || mean.length != 3 || std.length != 3) {
            throw new IllegalArgumentException(inputSize + " pixels out of " + resizeSize);
        }
        this.inputSize = inputSize;
        this.resizeSize = resizeSize;
        this.mean = mean.clone();
        this.std = std.clone();
    }

    /**
     * Reads a preprocessing record of {@code bundle.json} or of a distill-bench job.
     *
     * @throws BadFileException the record is inconsistent or contains an unknown rule
     */
    public static Preprocessing parse(String json) throws BadFileException {
        ByteBuffer text = ByteBuffer.wrap(json.getBytes(StandardCharsets.UTF_8));
        return Manifest.preprocessing(Fields.parse(text, "preprocessing", "update distill-to-phone"));
    }

    /** Returns why an image of this size must not be decoded, for the user; null if it may be. The same limits as in Python. */
    public static String refusal(int width, int height) {
        if (width < 1 || height < 1) {
            return "it has no pixels";
        }
        if (Math.max(width, height) > 64L * Math.min(width, height)) {
            return width + " x " + height + " pixels is a strip, not a picture";
        }
        if ((long) width * height > 178956970L) {
            return "it has more pixels than can be decoded safely";
        }
        return null;
    }

    /**
     * Converts a decoded image to the pixels of the model. Rows are read one by one; the image is not copied.
     *
     * @param stored the image as it is stored
     * @param orientation EXIF orientation, see {@link Exif#orientation}
     * @return RGB {@code [inputSize][inputSize][3]}
     */
    public byte[] pixels(PixelSource stored, int orientation) {
        UprightRows rows = new UprightRows(stored, orientation);
        int shorter = Math.min(rows.width, rows.height);
        int longer = Math.toIntExact((long) Math.max(rows.width, rows.height) * resizeSize / shorter);
        int newWidth = rows.width > rows.height ? longer : resizeSize;
        int newHeight = rows.width > rows.height ? resizeSize : longer;
        int left = (newWidth - inputSize) / 2;
        int top = (newHeight - inputSize) / 2;
        ResizePass across = newWidth == rows.width ? null : new ResizePass(rows.width, newWidth, left, inputSize);
        byte[] source = new byte[rows.width * 3];
        int wide = inputSize * 3;
        byte[] out = new byte[inputSize * wide];
        if (newHeight == rows.height) {
            for (int y = 0; y < inputSize; y++) {
                rows.read(top + y, source);
                narrow(across, source, left, out, y * wide);
            }
            return out;
        }
        ResizePass down = new ResizePass(rows.height, newHeight, top, inputSize);
        byte[] ring = new byte[Math.multiplyExact(down.longest, wide)];
        int[] sums = new int[wide];
        int next = down.first[0];
        for (int y = 0; y < inputSize; y++) {
            for (int end = down.first[y] + down.count[y]; next < end; next++) {
                rows.read(next, source);
                narrow(across, source, left, ring, next % down.longest * wide);
            }
            down.down(y, ring, wide, sums, out, y * wide);
        }
        return out;
    }

    private void narrow(ResizePass across, byte[] source, int left, byte[] out, int at) {
        if (across == null) {
            System.arraycopy(source, left * 3, out, at, inputSize * 3);
        } else {
            across.across(source, out, at);
        }
    }
}
