package org.distilltophone.core;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Index of the user's own photos. An update adds new photos and removes deleted ones. The process may be killed at any
 * moment without damage. Searching during an update in another thread is safe; only one update runs at a time.
 *
 * <p>Each photo costs one short write. The file is rewritten only when most of it is out of date.
 */
public final class PhotoIndex implements Closeable {
    /** Receives the progress of an update, on the thread of the update. */
    public interface Progress {
        /**
         * Called after every photo.
         *
         * @param done number of photos processed, including those of earlier updates
         * @param total number of photos
         * @return false to stop; a later update continues from here
         */
        boolean at(int done, int total);
    }

    /** Result of an update. */
    public static final class Report {
        public int added;
        public int changed;
        public int deleted;
        /** Photos that cannot be decoded; they are remembered. */
        public int skipped;
        /** Photos that cannot be read now; the next update tries again. */
        public int failed;
        /** False if the update was stopped. */
        public boolean finished;
    }

    private static final long SYNC_NANOS = 5000000000L; // the most work lost in a power failure
    private static final int MAX_ATTEMPTS = 2; // the first may have failed because the user closed the app at that moment
    private static final long SMALL = 1 << 20;

    private final RandomAccessFile lockFile;
    private final int dimension;
    private final PhotoRows rows;
    private final PhotoLog log;
    private boolean updating;
    private long compactAt = SMALL;

    private PhotoIndex(RandomAccessFile lockFile, File file, String model, int dimension) throws IOException {
        this.lockFile = lockFile;
        this.dimension = dimension;
        rows = new PhotoRows(dimension);
        log = new PhotoLog(file, model, dimension, new PhotoLog.Visitor() {
            @Override
            public void record(int type, String id, long stamp, byte[] row) {
                rows.apply(type, id, stamp, row);
            }
        });
    }

    /**
     * Opens or creates the index in its own folder. An index of another model is replaced by an empty one.
     *
     * @throws IOException the folder cannot be written, or the index is already open
     */
    public static PhotoIndex open(File folder, String modelSha256, int dimension) throws IOException {
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException(folder + ": cannot be created");
        }
        RandomAccessFile lockFile = new RandomAccessFile(new File(folder, "lock"), "rw");
        boolean done = false;
        try {
            FileLock lock;
            try {
                lock = lockFile.getChannel().tryLock();
            } catch (OverlappingFileLockException mine) {
                lock = null;
            }
            if (lock == null) {
                throw new IOException(folder + ": the index is already open");
            }
            PhotoIndex index = new PhotoIndex(lockFile, new File(folder, "photos.log"), modelSha256, dimension);
            done = true;
            return index;
        } finally {
            if (!done) {
                lockFile.close(); // also releases the lock
            }
        }
    }

    /** Returns the number of photos that can be found. */
    public synchronized int count() {
        return rows.count();
    }

    /** Returns the number of photos that could not be decoded. */
    public synchronized int skipped() {
        return rows.skipped();
    }

    /**
     * Embeds new and changed photos, and removes deleted ones.
     *
     * @param progress may be null
     * @throws IOException the photos cannot be listed, or the index cannot be written (disk full); work done so far is kept
     */
    public Report update(PhotoSource source, Embedder embedder, Progress progress) throws IOException {
        if (embedder.dimension() != dimension) {
            throw new IllegalArgumentException("the model gives " + embedder.dimension() + " values, the index stores " + dimension);
        }
        synchronized (this) {
            if (updating) {
                throw new IllegalStateException("an update is running");
            }
            updating = true;
        }
        Report report = new Report();
        try {
            run(source, embedder, progress, report);
        } finally {
            try {
                synchronized (this) {
                    log.sync();
                }
            } finally {
                synchronized (this) {
                    updating = false;
                }
            }
        }
        return report;
    }

    private void run(PhotoSource source, Embedder embedder, Progress progress, Report report) throws IOException {
        final Map<String, Long> there = new HashMap<String, Long>();
        source.list(new PhotoSource.Visitor() {
            @Override
            public void photo(String id, long stamp) {
                there.put(id, stamp);
            }
        });
        for (PhotoRows.Entry entry : snapshot()) {
            if (!there.containsKey(entry.id)) {
                report.deleted += entry.row >= 0 ? 1 : 0;
                write(PhotoLog.REMOVED, entry.id, 0, null);
            }
        }
        compactIfWorthwhile();
        int done = 0;
        long synced = System.nanoTime();
        for (Map.Entry<String, Long> photo : there.entrySet()) {
            if (!known(photo.getKey(), photo.getValue())) {
                one(source, embedder, photo.getKey(), photo.getValue(), report);
                compactIfWorthwhile();
                if (System.nanoTime() - synced > SYNC_NANOS) {
                    synced = System.nanoTime();
                    synchronized (this) {
                        log.sync();
                    }
                }
            }
            done++;
            if (progress != null && !progress.at(done, there.size())) {
                return;
            }
        }
        report.finished = true;
    }

    private synchronized List<PhotoRows.Entry> snapshot() {
        return rows.all();
    }

    private synchronized boolean known(String id, long stamp) {
        PhotoRows.Entry entry = rows.get(id);
        return entry != null && entry.stamp == stamp && (entry.row >= 0 || entry.skipped);
    }

    private void one(PhotoSource source, Embedder embedder, String id, long stamp, Report report) throws IOException {
        boolean had;
        int attempts;
        synchronized (this) {
            PhotoRows.Entry entry = rows.get(id);
            had = entry != null && entry.row >= 0;
            attempts = entry == null || entry.stamp != stamp ? 0 : entry.attempts;
        }
        if (attempts >= MAX_ATTEMPTS) {
            write(PhotoLog.SKIPPED, id, stamp, null);
            report.skipped++;
            return;
        }
        write(PhotoLog.ATTEMPT, id, stamp, null);
        byte[] pixels = null;
        boolean gone = false;
        try {
            pixels = source.pixels(id);
            gone = pixels == null;
        } catch (IOException notNow) {
            report.failed++;
            gone = true;
        } catch (UndecodableException error) {
            // pixels stays null
        } catch (RuntimeException error) {
            // A hostile image can make a decoder throw nearly anything.
        } catch (OutOfMemoryError error) {
            // Too large for this phone. One photo must not stop the update.
        }
        byte[] row = pixels == null ? null : embed(embedder, pixels, id);
        if (gone) {
            write(PhotoLog.REMOVED, id, stamp, null);
        } else if (row == null) {
            write(PhotoLog.SKIPPED, id, stamp, null);
            report.skipped++;
        } else {
            write(PhotoLog.ADDED, id, stamp, row);
            if (had) {
                report.changed++;
            } else {
                report.added++;
            }
        }
    }

    /** Returns the code of a photo; null if its embedding is not finite. */
    private byte[] embed(Embedder embedder, byte[] pixels, String id) throws IOException {
        float[] embedding = null;
        try {
            embedding = embedder.embed(pixels);
        } finally {
            if (embedding == null) { // the model failed, not the photo
                write(PhotoLog.REMOVED, id, 0, null);
            }
        }
        for (float value : embedding) {
            if (Float.isNaN(value) || Float.isInfinite(value)) {
                return null;
            }
        }
        return Int8.row(embedding);
    }

    private synchronized void write(int type, String id, long stamp, byte[] row) throws IOException {
        log.append(type, id, stamp, row);
        rows.apply(type, id, stamp, row);
    }

    private synchronized void compactIfWorthwhile() throws IOException {
        if (log.length() < compactAt) {
            return;
        }
        List<PhotoRows.Entry> all = rows.all();
        long live = 0;
        for (PhotoRows.Entry entry : all) {
            live += PhotoLog.recordBytes(entry.id) + (entry.row >= 0 ? dimension : 0);
        }
        if (log.length() < 2 * live) {
            compactAt = 2 * live;
            return;
        }
        byte[] row = new byte[dimension];
        try (PhotoLog.Rewrite rewrite = log.rewrite()) {
            for (PhotoRows.Entry entry : all) {
                if (entry.row >= 0) {
                    rows.row(entry.row, row);
                    rewrite.add(PhotoLog.ADDED, entry.id, entry.stamp, row);
                } else if (entry.skipped) {
                    rewrite.add(PhotoLog.SKIPPED, entry.id, entry.stamp, null);
                } else {
                    for (int i = 0; i < entry.attempts; i++) {
                        rewrite.add(PhotoLog.ATTEMPT, entry.id, entry.stamp, null);
                    }
                }
            }
            rewrite.finish();
        }
        compactAt = Math.max(SMALL, 2 * log.length());
    }

    /** Returns the k most similar photos, best first. */
    public synchronized List<Match> search(byte[] query, int k) {
        return rows.search(query, k);
    }

    @Override
    public synchronized void close() throws IOException {
        try {
            log.close();
        } finally {
            lockFile.close();
        }
    }
}
