package org.distilltophone.app;

import android.net.Uri;
import android.os.Handler;
import android.os.Looper;

/** The search on the screen; survives rotation of the phone. For the main thread only. */
final class Session {
    /** Implemented by the activity while it exists. */
    interface Listener {
        void sessionChanged();
    }

    private final DemoApp app;
    private final Handler main = new Handler(Looper.getMainLooper());
    private Listener listener;
    private Uri picture;
    private boolean inPhotos;
    private Query result;
    private boolean searching;
    private volatile int latest; // read by the worker

    Session(DemoApp app) {
        this.app = app;
    }

    void listen(Listener now) {
        listener = now;
    }

    /** Returns the query image; null if there is none yet. */
    Uri picture() {
        return picture;
    }

    boolean inPhotos() {
        return inPhotos;
    }

    /** Returns the last result; null if there is none yet. */
    Query result() {
        return result;
    }

    boolean searching() {
        return searching;
    }

    /** Chooses where to search, and searches again if there is a query. */
    void choosePlace(boolean photos) {
        if (inPhotos != photos) {
            inPhotos = photos;
            search(picture);
        }
    }

    /** Searches again if the settings changed. */
    void refresh() {
        Settings now = Settings.read(app);
        if (result != null && !searching && !(result.settings.sameEngine(now) && result.settings.results == now.results)) {
            search(picture);
        }
    }

    /** @param wanted query image; null only redraws */
    void search(Uri wanted) {
        picture = wanted;
        final int mine = ++latest;
        searching = wanted != null;
        if (searching) {
            final boolean photos = inPhotos;
            final Uri asked = wanted;
            app.worker.execute(new Runnable() {
                @Override
                public void run() {
                    if (mine != latest) {
                        return; // overtaken by a newer one
                    }
                    final Query found = Query.run(app, asked, photos);
                    main.post(new Runnable() {
                        @Override
                        public void run() {
                            finish(mine, found);
                        }
                    });
                }
            });
        }
        tell();
    }

    private void finish(int which, Query found) {
        if (which == latest) {
            searching = false;
            result = found;
            tell();
        }
    }

    private void tell() {
        if (listener != null) {
            listener.sessionChanged();
        }
    }
}
