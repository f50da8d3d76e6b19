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
 * A picture decoded by Android as docs/preprocessing.md has it. Only the bitmap itself is as large as the picture, and it lies
 * outside Java's heap.
 */
public final class BitmapImage implements ImageFileDecoder.Decoded {
    public final Bitmap bitmap;
    private final int orientation;

    private BitmapImage(Bitmap bitmap, int orientation) {
        this.bitmap = bitmap;
        this.orientation = orientation;
    }

    /**
     * Decodes it.
     *
     * @param memory bytes that the bitmap may take
     * @throws UndecodableException no picture, a broken one, or one that no phone should decode
     * @throws IOException there is no memory for it now
     */
    public static BitmapImage decode(byte[] file, long memory) throws IOException, UndecodableException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (options.outWidth < 1 || options.outHeight < 1) {
            throw new UndecodableException("no picture format that is known here");
        }
        String refusal = Preprocessing.refusal(options.outWidth, options.outHeight);
        if (refusal != null) {
            throw new UndecodableException(refusal);
        }
        if (4L * options.outWidth * options.outHeight > memory) {
            throw new IOException("there is no memory for " + options.outWidth + " × " + options.outHeight + " pixels now");
        }
        try {
            // ImageDecoder turns JPEGs, and PNGs in no version or in some: not left to it.
            boolean turnedPng = file[0] == (byte) 0x89 && Exif.orientation(new ByteArrayInputStream(file)) != 1;
            BitmapImage picture = Build.VERSION.SDK_INT >= 28 && !turnedPng ? decodeWhole(file) : decodeOld(file);
            if (Build.VERSION.SDK_INT >= 29 && picture.bitmap.getColorSpace() != null) {
                // Python takes the numbers as they are; so they are not to be converted when they are read.
                picture.bitmap.setColorSpace(ColorSpace.get(ColorSpace.Named.SRGB));
            }
            return picture;
        } catch (OutOfMemoryError tooLarge) {
            throw new IOException("there is no memory for it now", tooLarge);
        }
    }

    /** Turns the picture upright by itself, and refuses one that ends early. */
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

    /** The way of Android 8, which is there in every version. */
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

    /** 16-bit pictures come as half floats. */
    private static Bitmap eightBits(Bitmap bitmap) throws UndecodableException {
        if (bitmap.getConfig() == Bitmap.Config.ARGB_8888) {
            return bitmap;
        }
        Bitmap copy = bitmap.copy(Bitmap.Config.ARGB_8888, false);
        bitmap.recycle();
        if (copy == null) {
            throw new UndecodableException("its kind of pixels cannot be converted");
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

    /** Large: not left to the garbage collector. */
    @Override
    public void close() {
        bitmap.recycle();
    }
}
