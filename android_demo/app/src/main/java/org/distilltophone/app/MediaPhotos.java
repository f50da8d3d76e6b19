package org.distilltophone.app;

import android.Manifest;
import android.content.ContentUris;
import android.content.Context;
import android.content.pm.PackageManager;
import android.database.Cursor;
import android.net.Uri;
import android.os.Build;
import android.provider.MediaStore;
import java.io.FileNotFoundException;
import java.io.IOException;
import org.distilltophone.core.PhotoSource;
import org.distilltophone.core.Preprocessing;
import org.distilltophone.core.UndecodableException;

/** The photos on the phone, as listed by Android's MediaStore. */
final class MediaPhotos implements PhotoSource {
    private static final Uri ALL = MediaStore.Images.Media.EXTERNAL_CONTENT_URI;
    private static final String[] COLUMNS = {
        MediaStore.Images.Media._ID, MediaStore.Images.Media.DATE_MODIFIED, MediaStore.Images.Media.SIZE,
    };

    private final Context context;
    private final Preprocessing preprocessing;

    MediaPhotos(Context context, Preprocessing preprocessing) {
        this.context = context;
        this.preprocessing = preprocessing;
    }

    /** Returns the permission to request. */
    static String permission() {
        return Build.VERSION.SDK_INT >= 33 ? Manifest.permission.READ_MEDIA_IMAGES : Manifest.permission.READ_EXTERNAL_STORAGE;
    }

    static boolean permitted(Context context) {
        return context.checkSelfPermission(permission()) == PackageManager.PERMISSION_GRANTED;
    }

    @Override
    public void list(Visitor visitor) throws IOException {
        if (!permitted(context)) { // an empty list would empty the index
            throw new IOException(context.getString(R.string.photos_permission));
        }
        Cursor cursor;
        try {
            cursor = context.getContentResolver().query(ALL, COLUMNS, null, null, MediaStore.Images.Media.DATE_MODIFIED + " DESC");
        } catch (RuntimeException refused) {
            throw new IOException(String.valueOf(refused.getMessage()), refused);
        }
        if (cursor == null) {
            throw new IOException("the phone's list of photos is not available");
        }
        try {
            while (cursor.moveToNext()) {
                String id = ContentUris.withAppendedId(ALL, cursor.getLong(0)).toString();
                visitor.photo(id, cursor.getLong(1) * 31 + cursor.getLong(2));
            }
        } finally {
            cursor.close();
        }
        if (!permitted(context)) { // withdrawn meanwhile: the list may be incomplete
            throw new IOException(context.getString(R.string.photos_permission));
        }
    }

    @Override
    public byte[] pixels(String id) throws IOException, UndecodableException {
        try {
            SharedImage image = SharedImage.read(context, Uri.parse(id));
            byte[] pixels = preprocessing.pixels(image, image.orientation);
            image.bitmap.recycle();
            return pixels;
        } catch (FileNotFoundException gone) {
            return null;
        }
    }
}
