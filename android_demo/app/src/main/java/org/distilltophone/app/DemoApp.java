package org.distilltophone.app;

import android.app.Application;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.FlatIndex;
import org.distilltophone.core.Gallery;
import org.distilltophone.core.Index;
import org.distilltophone.core.PhotoIndex;

/** What lives as long as the process: the model, the demo gallery, the index of the user's photos, one working thread. */
public class DemoApp extends Application {
    /** Replaced by tests. */
    static EngineFactory engines = new PhoneEngines();

    /** Searches run here, one after another. */
    final ExecutorService worker = Executors.newSingleThreadExecutor();
    final Indexer indexer = new Indexer(this);

    private AppModel model;
    private Gallery gallery;
    private Index galleryIndex;
    private PhotoIndex photos;

    /** The model, opened anew where the settings changed. Used on {@link #worker} alone. */
    synchronized AppModel model() throws IOException {
        Settings now = Settings.read(this);
        if (model == null || !model.serves(now)) {
            AppModel fresh = AppModel.open(this, engines, now);
            if (model != null) {
                model.close();
            }
            model = fresh;
        }
        return model;
    }

    /** The gallery in the app; it must be of the model in the app. */
    synchronized Gallery gallery() throws IOException {
        if (gallery == null) {
            ByteBuffer file = new AssetSource(getAssets(), "", getString(R.string.cure_build)).read("demo.gallery");
            Gallery opened = Gallery.of(file);
            opened.checkModel(AppModel.bundle(this));
            gallery = opened;
        }
        return gallery;
    }

    synchronized Index galleryIndex() throws IOException {
        if (galleryIndex == null) {
            galleryIndex = new FlatIndex(gallery());
        }
        return galleryIndex;
    }

    /** The index of the user's photos: never backed up. */
    synchronized PhotoIndex photos() throws IOException {
        if (photos == null) {
            Bundle bundle = AppModel.bundle(this);
            photos = PhotoIndex.open(photosFolder(), bundle.variant().sha256, bundle.dimension());
        }
        return photos;
    }

    /** Deletes the index. Nothing may be updating it. */
    synchronized void forgetPhotos() throws IOException {
        if (photos != null) {
            photos.close();
            photos = null;
        }
        File[] files = photosFolder().listFiles();
        if (files != null) {
            for (File file : files) {
                if (!file.delete()) {
                    throw new IOException(file + " cannot be deleted");
                }
            }
        }
    }

    private File photosFolder() {
        return new File(getNoBackupFilesDir(), "photos");
    }
}
