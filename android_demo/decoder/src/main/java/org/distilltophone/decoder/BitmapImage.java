package org.distilltophone.decoder;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.ColorSpace;
import android.graphics.ImageDecoder;
import android.os.Build;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.distilltophone.core.Exif;
import org.distilltophone.core.ImageFileDecoder;
import org.distilltophone.core.Preprocessing;
import org.distilltophone.core.UndecodableException;

/**
 * An image decoded by Android as docs/preprocessing.md specifies. Only the bitmap is as large as the image, and its memory
 * is outside Java's heap.
 */
public final class BitmapImage implements ImageFileDecoder.Decoded {
    public final Bitmap bitmap;
    private final int orientation;

    private BitmapImage(Bitmap bitmap, int orientation) {
        this.bitmap = bitmap;
        this.orientation = orientation;
    }

    /**
     * Decodes an image file.
     *
     * @param memory largest size of the bitmap in bytes
     * @throws UndecodableException not an image, damaged, or too large to decode
     * @throws IOException there is not enough memory now
     */
    public static BitmapImage decode(byte[] file, long memory) throws IOException, UndecodableException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (options.outWidth < 1 || options.outHeight < 1) {
            throw new UndecodableException("not a known picture format");
        }
        String refusal = Preprocessing.refusal(options.outWidth, options.outHeight);
        if (refusal != null) {
            throw new UndecodableException(refusal);
        }
        if (4L * options.outWidth * options.outHeight > memory) {
            throw new IOException("there is not enough memory now for " + options.outWidth + " × " + options.outHeight + " pixels");
        }
        try {
            // ImageDecoder rotates JPEGs. Whether it rotates PNGs may depend on the version, so this class does it.
            boolean rotatedPng = file[0] == (byte) 0x89 && Exif.orientation(new ByteArrayInputStream(file)) != 1;
            BitmapImage image = Build.VERSION.SDK_INT >= 28 && !rotatedPng ? decodeWhole(file) : decodeOld(file);
            if (Build.VERSION.SDK_INT >= 29 && image.bitmap.getColorSpace() != null) {
                // As in Python, values are not converted between colour spaces when they are read.
                image.bitmap.setColorSpace(ColorSpace.get(ColorSpace.Named.SRGB));
            }
            return image;
        } catch (OutOfMemoryError tooLarge) {
            throw new IOException("there is not enough memory now", tooLarge);
        }
    }

    /** Decodes with ImageDecoder, which rotates the image and refuses truncated files. */
    private static BitmapImage decodeWhole(byte[] file) throws UndecodableException {
        try {
            Bitmap bitmap = ImageDecoder.decodeBitmap(ImageDecoder.createSource(ByteBuffer.wrap(file)),
                new ImageDecoder.OnHeaderDecodedListener() {
                    @Override
                    public void onHeaderDecoded(ImageDecoder decoder, ImageDecoder.ImageInfo info, ImageDecoder.Source source) {
                        decoder.setAllocator(ImageDecoder.ALLOCATOR_SOFTWARE);
                        decoder.setUnpremultipliedRequired(true);
                    }
                });
            return new BitmapImage(eightBits(bitmap), 1);
        } catch (IOException broken) {
            throw new UndecodableException(String.valueOf(broken.getMessage()));
        }
    }

    /** Decodes with BitmapFactory, which every version of Android has; the only way on Android 8. */
    public static BitmapImage decodeOld(byte[] file) throws UndecodableException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPremultiplied = false;
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        Bitmap bitmap = BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (bitmap == null) {
            throw new UndecodableException("the picture is damaged");
        }
        return new BitmapImage(eightBits(bitmap), Exif.orientation(new ByteArrayInputStream(file)));
    }

    /** Converts 16-bit images, which are decoded to half floats. */
    private static Bitmap eightBits(Bitmap bitmap) throws UndecodableException {
        if (bitmap.getConfig() == Bitmap.Config.ARGB_8888) {
            return bitmap;
        }
        Bitmap copy = bitmap.copy(Bitmap.Config.ARGB_8888, false);
        bitmap.recycle();
        if (copy == null) {
            throw new UndecodableException("its pixels cannot be converted");
        }
        return copy;
    }

    @Override
    public int orientation() {
        return orientation;
    }

    @Override
    public int width() {
        return bitmap.getWidth();
    }

    @Override
    public int height() {
        return bitmap.getHeight();
    }

    @Override
    public void read(int x, int y, int w, int h, int[] into) {
        bitmap.getPixels(into, 0, w, x, y, w, h);
    }

    /** Frees the bitmap now: it is too large to wait for the garbage collector. */
    @Override
    public void close() {
        bitmap.recycle();
    }
}
