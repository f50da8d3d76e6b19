package org.distilltophone.app;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/** Provides one file in the cache, to which a camera app may write an image. */
public final class CaptureProvider extends ContentProvider {
    private static final String NAME = "photo.jpg";
    static final Uri PHOTO = Uri.parse("content://org.distilltophone.demo.capture/" + NAME);

    /** Returns the file of the image. */
    static File file(Context context) {
        return new File(context.getCacheDir(), NAME);
    }

    /** Deletes the last image. */
    static void forget(Context context) {
        File last = file(context);
        if (last.exists() && !last.delete()) {
            throw new IllegalStateException(last + " cannot be deleted"); // it is the app's own cache
        }
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        return ParcelFileDescriptor.open(file(known(uri)), ParcelFileDescriptor.parseMode(mode));
    }

    private Context known(Uri uri) throws FileNotFoundException {
        if (!PHOTO.equals(uri)) {
            throw new FileNotFoundException(uri + ": there is only " + PHOTO);
        }
        return getContext();
    }

    @Override
    public String getType(Uri uri) {
        return PHOTO.equals(uri) ? "image/jpeg" : null;
    }

    @Override
    public Cursor query(Uri uri, String[] columns, String where, String[] values, String order) {
        MatrixCursor found = new MatrixCursor(new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE});
        if (PHOTO.equals(uri)) {
            found.addRow(new Object[] {NAME, file(getContext()).length()});
        }
        return found;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException("the file is written through openFile");
    }

    @Override
    public int update(Uri uri, ContentValues values, String where, String[] arguments) {
        throw new UnsupportedOperationException("the file is written through openFile");
    }

    @Override
    public int delete(Uri uri, String where, String[] arguments) {
        throw new UnsupportedOperationException("the app deletes the file itself");
    }
}
