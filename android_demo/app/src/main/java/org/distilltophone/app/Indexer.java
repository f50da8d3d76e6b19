package org.distilltophone.app;

import android.os.Handler;
import android.os.Looper;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.distilltophone.core.PhotoIndex;

/** Updates the index of the user's photos in its own thread, and reports progress to the main thread. */
final class Indexer {
    /** Called on the main thread after a change. */
    interface Listener {
        void indexerChanged();
    }

    private final class Run implements Runnable, PhotoIndex.Progress {
        @Override
        public void run() {
            android.os.Process.setThreadPriority(android.os.Process.THREAD_PRIORITY_BACKGROUND);
            PhotoIndex.Report done = null;
            String wrong = null;
            AppModel model = null;
            try {
                // Its own model, because searches close and reopen theirs when settings change.
                model = AppModel.open(app, DemoApp.engines, Settings.read(app));
                done = app.photos().update(new MediaPhotos(app, model.bundle.preprocessing()), model.embedder, this);
            } catch (IOException error) {
                wrong = String.valueOf(error.getMessage());
            } catch (RuntimeException | OutOfMemoryError error) {
                wrong = String.valueOf(error);
            } finally {
                if (model != null) {
                    model.close();
                }
            }
            ended(done, wrong);
        }

        @Override
        public boolean at(int done, int total) {
            return progress(done, total);
        }
    }

    private static final long TELL_EVERY_MS = 200;

    private final DemoApp app;
    private final List<Listener> listeners = new ArrayList<Listener>(); // main thread only
    private boolean running;
    private boolean stopping;
    private int done;
    private int total;
    private String problem;
    private PhotoIndex.Report report;
    private long told;

    Indexer(DemoApp app) {
        this.app = app;
    }

    /** Starts a run, unless one is active. */
    void start() {
        synchronized (this) {
            if (running) {
                stopping = false;
                return;
            }
            running = true;
            stopping = false;
            problem = null;
            report = null;
            done = 0;
            total = 0;
        }
        new Thread(new Run(), "photo index").start();
        tell();
    }

    /** Stops after the current photo. */
    synchronized void stop() {
        stopping = true;
    }

    synchronized boolean running() {
        return running;
    }

    /** Returns the number of photos processed, including earlier runs. */
    synchronized int done() {
        return done;
    }

    /** Returns the number of photos; 0 while they are being listed. */
    synchronized int total() {
        return total;
    }

    /** Returns why the last run failed; null if it did not. */
    synchronized String problem() {
        return problem;
    }

    /** Returns the result of the last run; null if it failed, or if there was none in this process. */
    synchronized PhotoIndex.Report report() {
        return report;
    }

    void add(Listener listener) {
        listeners.add(listener);
    }

    void remove(Listener listener) {
        listeners.remove(listener);
    }

    private boolean progress(int nowDone, int nowTotal) {
        boolean goOn;
        synchronized (this) {
            done = nowDone;
            total = nowTotal;
            goOn = !stopping;
            long now = android.os.SystemClock.uptimeMillis();
            if (now - told < TELL_EVERY_MS) {
                return goOn;
            }
            told = now;
        }
        tell();
        return goOn;
    }

    private void ended(PhotoIndex.Report whatItDid, String wrong) {
        synchronized (this) {
            running = false;
            report = whatItDid;
            problem = wrong;
        }
        tell();
    }

    private void tell() {
        new Handler(Looper.getMainLooper()).post(new Runnable() {
            @Override
            public void run() {
                for (Listener listener : new ArrayList<Listener>(listeners)) {
                    listener.indexerChanged();
                }
            }
        });
    }
}
