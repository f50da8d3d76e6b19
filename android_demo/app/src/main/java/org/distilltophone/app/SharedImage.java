package org.distilltophone.app;

import android.app.ActivityManager;
import android.content.ContentResolver;
import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.Matrix;
import android.net.Uri;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import org.distilltophone.core.PixelSource;
import org.distilltophone.core.UndecodableException;
import org.distilltophone.decoder.BitmapImage;

/** A decoded image that another app shares, with a small copy for display. */
final class SharedImage implements PixelSource {
    private static final int MAX_FILE = 200 << 20;

    final Bitmap bitmap;
    /** EXIF orientation that remains to be applied. */
    final int orientation;
    private final BitmapImage image;

    private SharedImage(BitmapImage image) {
        this.image = image;
        bitmap = image.bitmap;
        orientation = image.orientation();
    }

    /**
     * @throws UndecodableException not an image, damaged, or too large to decode
     * @throws IOException it cannot be read, or there is not enough memory now
     */
    static SharedImage read(Context context, Uri uri) throws IOException, UndecodableException {
        if (!ContentResolver.SCHEME_CONTENT.equals(uri.getScheme())) {
            throw new IOException(uri + " is not shared with this app"); // never open this app's own files for another app
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
            throw new FileNotFoundException("it no longer exists");
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
            throw new IOException("there is not enough memory now", tooLarge);
        } finally {
            stream.close();
        }
    }

    static SharedImage decode(Context context, byte[] file) throws IOException, UndecodableException {
        ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
        ((ActivityManager) context.getSystemService(Context.ACTIVITY_SERVICE)).getMemoryInfo(memory);
        return new SharedImage(BitmapImage.decode(file, Math.max(memory.availMem, 256L << 20) / 2));
    }

    @Override
    public int width() {
        return image.width();
    }

    @Override
    public int height() {
        return image.height();
    }

    @Override
    public void read(int x, int y, int w, int h, int[] into) {
        image.read(x, y, w, h, into);
    }

    /** Returns a small upright copy for display; its longer side has at most {@code side} pixels. */
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

    /** Returns a premultiplied copy: other bitmaps cannot be drawn. */
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
