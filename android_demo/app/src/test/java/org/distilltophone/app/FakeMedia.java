package org.distilltophone.app;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.MediaStore;
import java.io.File;
import java.io.FileNotFoundException;
import java.util.Map;
import java.util.TreeMap;

/** A MediaStore with the photos of a test. */
public final class FakeMedia extends ContentProvider {
    final Map<Long, File> photos = new TreeMap<>();
    /** Rows without a file, for long lists. */
    int more;

    static Uri uri(long id) {
        return Uri.withAppendedPath(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, String.valueOf(id));
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public Cursor query(Uri uri, String[] columns, String where, String[] values, String order) {
        MatrixCursor cursor = new MatrixCursor(columns);
        for (Map.Entry<Long, File> photo : photos.entrySet()) {
            cursor.addRow(new Object[] {photo.getKey(), photo.getValue().lastModified() / 1000, photo.getValue().length()});
        }
        for (int i = 0; i < more; i++) {
            cursor.addRow(new Object[] {1_000_000L + i, 1L, 1L});
        }
        return cursor;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        File file = photos.get(Long.valueOf(uri.getLastPathSegment()));
        if (file == null) {
            throw new FileNotFoundException(uri.toString());
        }
        return ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY);
    }

    @Override
    public String getType(Uri uri) {
        return "image/jpeg";
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int update(Uri uri, ContentValues values, String where, String[] arguments) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int delete(Uri uri, String where, String[] arguments) {
        throw new UnsupportedOperationException();
    }
}
