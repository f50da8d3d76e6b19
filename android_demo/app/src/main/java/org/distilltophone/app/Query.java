package org.distilltophone.app;

import android.graphics.Bitmap;
import android.net.Uri;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.distilltophone.core.Gallery;
import org.distilltophone.core.Index;
import org.distilltophone.core.Int8;
import org.distilltophone.core.Match;
import org.distilltophone.core.PhotoIndex;
import org.distilltophone.core.TopK;
import org.distilltophone.core.UndecodableException;

/** One search and its result. */
final class Query {
    /** An image that was found. */
    static final class Hit {
        /** A path in the demo gallery, or the URI of a photo. */
        final String id;
        final float score;
        /** Row in the demo gallery; -1 for a photo of the user. */
        final int row;

        Hit(String id, float score, int row) {
            this.id = id;
            this.score = score;
            this.row = row;
        }
    }

    private static final int PREVIEW = 512;

    /** The query image, small and upright; null if it could not be decoded. */
    final Bitmap preview;
    /** Best first. */
    final List<Hit> hits;
    /** Number of images compared. */
    final int compared;
    final long decodeNanos;
    final long embedNanos;
    final long searchNanos;
    /** Description of a problem for the user; null if there was none. */
    final String problem;
    /** Settings of this search. */
    final Settings settings;

    private Query(Settings settings, Bitmap preview, List<Hit> hits, int compared, long decodeNanos, long embedNanos,
            long searchNanos) {
        this.settings = settings;
        this.preview = preview;
        this.hits = Collections.unmodifiableList(hits);
        this.compared = compared;
        this.decodeNanos = decodeNanos;
        this.embedNanos = embedNanos;
        this.searchNanos = searchNanos;
        problem = null;
    }

    private Query(Settings settings, Bitmap preview, String problem) {
        this.settings = settings;
        this.preview = preview;
        hits = Collections.emptyList();
        compared = 0;
        decodeNanos = 0;
        embedNanos = 0;
        searchNanos = 0;
        this.problem = problem;
    }

    /**
     * Decodes, embeds and searches, which takes from milliseconds to a second. Runs on the worker thread.
     *
     * @param inPhotos search the user's photos instead of the demo gallery
     */
    static Query run(DemoApp app, Uri picture, boolean inPhotos) {
        Settings settings = Settings.read(app);
        Bitmap preview = null;
        try {
            AppModel model = app.model();
            // Opened before the clock starts, so that the first search does not include it.
            Index demo = inPhotos ? null : app.galleryIndex();
            PhotoIndex photos = inPhotos ? app.photos() : null;
            long start = System.nanoTime();
            SharedImage decoded = SharedImage.read(app, picture);
            byte[] pixels = model.bundle.preprocessing().pixels(decoded, decoded.orientation);
            long decodedAt = System.nanoTime();
            preview = decoded.preview(PREVIEW);
            if (preview != decoded.bitmap) {
                decoded.bitmap.recycle(); // too large to wait for the garbage collector
            }
            long embedAt = System.nanoTime();
            byte[] query = Int8.quantize(model.embedder.embed(pixels));
            long embeddedAt = System.nanoTime();
            List<Hit> hits = new ArrayList<Hit>();
            int compared = inPhotos ? searchPhotos(photos, query, settings.results, hits)
                : searchDemo(app.gallery(), demo, query, settings.results, hits);
            return new Query(settings, preview, hits, compared, decodedAt - start, embeddedAt - embedAt,
                System.nanoTime() - embeddedAt);
        } catch (UndecodableException broken) {
            return new Query(settings, preview, app.getString(R.string.problem_undecodable, broken.getMessage()));
        } catch (IOException error) {
            return new Query(settings, preview, AppModel.problem(app, error));
        } catch (OutOfMemoryError error) {
            return new Query(settings, preview, app.getString(R.string.problem_unreadable, "there is not enough memory now"));
        }
    }

    private static int searchDemo(Gallery gallery, Index index, byte[] query, int k, List<Hit> hits) {
        TopK best = new TopK(k);
        index.search(query, k, best);
        for (int i = 0; i < best.size(); i++) {
            hits.add(new Hit(gallery.id(best.row(i)), best.score(i), best.row(i)));
        }
        return gallery.count();
    }

    private static int searchPhotos(PhotoIndex photos, byte[] query, int k, List<Hit> hits) {
        for (Match match : photos.search(query, k)) {
            hits.add(new Hit(match.id, match.score, -1));
        }
        return photos.count();
    }
}
