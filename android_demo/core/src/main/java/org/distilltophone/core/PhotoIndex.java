package org.distilltophone.core;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.util.List;

/**
 * The user's own photos, embedded: grows while photos are added, loses what was deleted, and is whole again after the
 * process was killed at any moment. Searching while an update runs in another thread is safe.
 */
public final class PhotoIndex implements Closeable {
    /** Told how an update goes, on its thread. */
    public interface Progress {
        /**
         * After every photo.
         *
         * @param done photos that are dealt with, those of earlier updates included
         * @param total photos that there are
         * @return false to stop; a later update goes on from here
         */
        boolean at(int done, int total);
    }

    /** What an update did. */
    public static final class Report {
        public int added;
        public int changed;
        public int deleted;
        /** Not decodable: remembered. */
        public int skipped;
        /** Not readable now: tried again next time. */
        public int failed;
        /** False: it was stopped. */
        public boolean finished;
    }

    private PhotoIndex() {}

    /**
     * Opens or makes the index in a folder of its own. One of another model is replaced by an empty one.
     *
     * @throws IOException the folder cannot be written, or another process has it open
     */
    public static PhotoIndex open(File folder, GalleryModel model, int dimension) throws IOException {
        throw new UnsupportedOperationException();
    }

    /** Photos that can be found. */
    public int count() {
        throw new UnsupportedOperationException();
    }

    /** Photos that could not be decoded. */
    public int skipped() {
        throw new UnsupportedOperationException();
    }

    /** Embeds what is new or changed, forgets what is gone. */
    public Report update(PhotoSource source, Embedder embedder, Progress progress) throws IOException {
        throw new UnsupportedOperationException();
    }

    /** The k most similar photos, best first. */
    public List<Match> search(byte[] query, int k) {
        throw new UnsupportedOperationException();
    }

    /** All that it holds as a gallery file, without thumbnails. */
    public void export(File gallery) throws IOException {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() throws IOException {
        throw new UnsupportedOperationException();
    }
}
