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

/** Objects that live as long as the process: model, demo gallery, index of the user's photos, and one worker thread. */
public class DemoApp extends Application {
    /** Replaced by tests. */
    static EngineFactory engines = new PhoneEngines();

    /** Runs searches one after another. */
    final ExecutorService worker = Executors.newSingleThreadExecutor();
    final Indexer indexer = new Indexer(this);

    private AppModel model;
    private Gallery gallery;
    private Index galleryIndex;
    private PhotoIndex photos;

    /** Returns the model; opens it again if the settings changed. Only for use on {@link #worker}. */
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

    /** Returns the app's gallery, which has to match the app's model. */
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

    /** Returns the index of the user's photos, which is never backed up. */
    synchronized PhotoIndex photos() throws IOException {
        if (photos == null) {
            Bundle bundle = AppModel.bundle(this);
            photos = PhotoIndex.open(photosFolder(), bundle.variant().sha256, bundle.dimension());
        }
        return photos;
    }

    /** Deletes the index. No update may be running. */
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
