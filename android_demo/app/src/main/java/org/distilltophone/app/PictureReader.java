package org.distilltophone.app;

import android.app.ActivityManager;
import android.content.ContentResolver;
import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.ColorSpace;
import android.graphics.ImageDecoder;
import android.graphics.Matrix;
import android.net.Uri;
import android.os.Build;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import org.distilltophone.core.Exif;
import org.distilltophone.core.PixelSource;
import org.distilltophone.core.Preprocessing;
import org.distilltophone.core.UndecodableException;

/**
 * A photo decoded as docs/preprocessing.md has it: whole, 8 bits, upright by its EXIF orientation. Only the bitmap itself
 * is as large as the photo, and it lies outside Java's heap.
 */
final class PictureReader implements PixelSource {
    private static final int MAX_FILE = 200 << 20;

    final Bitmap bitmap;
    /** How it still has to be turned. */
    final int orientation;

    private PictureReader(Bitmap bitmap, int orientation) {
        this.bitmap = bitmap;
        this.orientation = orientation;
    }

    /**
     * @throws UndecodableException no picture, a broken one, or one that no phone should decode
     * @throws IOException it cannot be read, or there is no memory for it now
     */
    static PictureReader read(Context context, Uri uri) throws IOException, UndecodableException {
        if (!ContentResolver.SCHEME_CONTENT.equals(uri.getScheme())) {
            throw new IOException(uri + " is not shared with this app"); // never a file of its own on another app's word
        }
        byte[] file;
        try {
            file = bytes(context.getContentResolver().openInputStream(uri));
        } catch (SecurityException gone) {
            throw new IOException("access to it has ended", gone);
        } catch (RuntimeException odd) { // a provider of another app may throw anything
            throw new IOException(String.valueOf(odd.getMessage()), odd);
        }
        return decode(context, file);
    }

    private static byte[] bytes(InputStream stream) throws IOException, UndecodableException {
        if (stream == null) {
            throw new FileNotFoundException("it is gone");
        }
        try {
            ByteArrayOutputStream all = new ByteArrayOutputStream(1 << 20);
            byte[] part = new byte[1 << 16];
            for (int got = stream.read(part); got >= 0; got = stream.read(part)) {
                if (all.size() + got > MAX_FILE) {
                    throw new UndecodableException("the file is larger than " + (MAX_FILE >> 20) + " MB");
                }
                all.write(part, 0, got);
            }
            return all.toByteArray();
        } catch (OutOfMemoryError tooLarge) {
            throw new IOException("there is no memory for it now", tooLarge);
        } finally {
            stream.close();
        }
    }

    static PictureReader decode(Context context, byte[] file) throws IOException, UndecodableException {
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
        ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
        ((ActivityManager) context.getSystemService(Context.ACTIVITY_SERVICE)).getMemoryInfo(memory);
        if (4L * options.outWidth * options.outHeight > Math.max(memory.availMem, 256L << 20) / 2) {
            throw new IOException("there is no memory for " + options.outWidth + " × " + options.outHeight + " pixels now");
        }
        try {
            PictureReader picture = Build.VERSION.SDK_INT >= 28 ? decodeWhole(file) : decodeOld(file);
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
    private static PictureReader decodeWhole(byte[] file) throws UndecodableException {
        try {
            Bitmap bitmap = ImageDecoder.decodeBitmap(ImageDecoder.createSource(ByteBuffer.wrap(file)),
                new ImageDecoder.OnHeaderDecodedListener() {
                    @Override
                    public void onHeaderDecoded(ImageDecoder decoder, ImageDecoder.ImageInfo info, ImageDecoder.Source source) {
                        decoder.setAllocator(ImageDecoder.ALLOCATOR_SOFTWARE);
                        decoder.setUnpremultipliedRequired(true);
                    }
                });
            return new PictureReader(eightBits(bitmap), 1);
        } catch (IOException broken) {
            throw new UndecodableException(String.valueOf(broken.getMessage()));
        }
    }

    static PictureReader decodeOld(byte[] file) throws UndecodableException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPremultiplied = false;
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        Bitmap bitmap = BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (bitmap == null) {
            throw new UndecodableException("the picture is damaged");
        }
        return new PictureReader(eightBits(bitmap), Exif.orientation(new ByteArrayInputStream(file)));
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

    /** A small upright copy to be shown: its longer side has at most {@code side} pixels. */
    Bitmap preview(int side) {
        float scale = Math.min(1f, (float) side / Math.max(width(), height()));
        Matrix matrix = new Matrix();
        if (orientation == 2 || orientation == 4 || orientation == 5 || orientation == 7) {
            matrix.postScale(-1, 1);
        }
        matrix.postRotate(orientation == 3 || orientation == 4 ? 180
            : orientation == 6 || orientation == 7 ? 90 : orientation == 5 || orientation == 8 ? 270 : 0);
        int w = Math.max(1, Math.round(width() * scale));
        int h = Math.max(1, Math.round(height() * scale));
        Bitmap drawable = bitmap.isPremultiplied() || !bitmap.hasAlpha() ? bitmap : premultiplied();
        Bitmap small = Bitmap.createScaledBitmap(drawable, w, h, true);
        return Bitmap.createBitmap(small, 0, 0, w, h, matrix, true);
    }

    /** What is not premultiplied cannot be drawn. */
    private Bitmap premultiplied() {
        Bitmap copy = Bitmap.createBitmap(width(), height(), Bitmap.Config.ARGB_8888);
        int[] row = new int[width()];
        for (int y = 0; y < height(); y++) {
            bitmap.getPixels(row, 0, row.length, 0, y, row.length, 1);
            copy.setPixels(row, 0, row.length, 0, y, row.length, 1);
        }
        return copy;
    }
}
