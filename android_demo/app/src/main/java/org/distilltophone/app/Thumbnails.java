package org.distilltophone.app;

import android.content.ContentUris;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.net.Uri;
import android.os.Build;
import android.os.Handler;
import android.os.Looper;
import android.provider.MediaStore;
import android.util.LruCache;
import android.util.Size;
import android.widget.ImageView;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Thumbnails of results, loaded in the background and cached. For the main thread only. */
final class Thumbnails {
    private static final int SIDE = 256;
    private static final int KEPT_BYTES = 16 << 20;

    private final DemoApp app;
    private final Handler main = new Handler(Looper.getMainLooper());
    private final ExecutorService loader = Executors.newSingleThreadExecutor();
    private final LruCache<String, Bitmap> kept = new LruCache<String, Bitmap>(KEPT_BYTES) {
        @Override
        protected int sizeOf(String id, Bitmap bitmap) {
            return bitmap.getByteCount();
        }
    };

    Thumbnails(DemoApp app) {
        this.app = app;
    }

    /** Shows the thumbnail of a hit in a view, now or later; nothing if it has none. */
    void show(final Query.Hit hit, final ImageView view) {
        view.setTag(hit.id); // views are reused: a late thumbnail must not appear in another hit's view
        Bitmap ready = kept.get(hit.id);
        view.setImageBitmap(ready);
        if (ready != null) {
            return;
        }
        loader.execute(new Runnable() {
            @Override
            public void run() {
                final Bitmap loaded = load(hit);
                if (loaded == null) {
                    return;
                }
                main.post(new Runnable() {
                    @Override
                    public void run() {
                        kept.put(hit.id, loaded);
                        if (hit.id.equals(view.getTag())) {
                            view.setImageBitmap(loaded);
                        }
                    }
                });
            }
        });
    }

    void close() {
        loader.shutdownNow();
    }

    private Bitmap load(Query.Hit hit) {
        try {
            if (hit.row >= 0) {
                byte[] jpeg = app.gallery().thumbnail(hit.row);
                return jpeg == null ? null : BitmapFactory.decodeByteArray(jpeg, 0, jpeg.length);
            }
            Uri uri = Uri.parse(hit.id);
            if (Build.VERSION.SDK_INT >= 29) {
                return app.getContentResolver().loadThumbnail(uri, new Size(SIDE, SIDE), null);
            }
            return MediaStore.Images.Thumbnails.getThumbnail(app.getContentResolver(), ContentUris.parseId(uri),
                MediaStore.Images.Thumbnails.MINI_KIND, null);
        } catch (IOException gone) {
            return null;
        } catch (RuntimeException refused) { // permission withdrawn, or an odd provider
            return null;
        }
    }
}
