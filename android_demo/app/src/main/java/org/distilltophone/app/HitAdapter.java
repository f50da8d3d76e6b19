package org.distilltophone.app;

import android.net.Uri;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.ImageView;
import android.widget.TextView;
import java.util.Collections;
import java.util.List;
import java.util.Locale;

/** Shows results as tiles: image, similarity, name. */
final class HitAdapter extends BaseAdapter {
    private final Thumbnails thumbnails;
    private List<Query.Hit> hits = Collections.emptyList();

    HitAdapter(Thumbnails thumbnails) {
        this.thumbnails = thumbnails;
    }

    void show(List<Query.Hit> now) {
        if (hits != now) {
            hits = now;
            notifyDataSetChanged();
        }
    }

    /** Returns the display name: the path in the gallery, or the number of a photo on the phone. */
    static String name(Query.Hit hit) {
        return hit.row < 0 ? Uri.parse(hit.id).getLastPathSegment() : hit.id;
    }

    /** Formats the similarity, for example 0.93. Rounding to int8 can lift the cosine of an image with itself slightly above 1. */
    static String similarity(Query.Hit hit) {
        return String.format(Locale.getDefault(), "%.2f", Math.min(1f, hit.score));
    }

    @Override
    public int getCount() {
        return hits.size();
    }

    @Override
    public Query.Hit getItem(int position) {
        return hits.get(position);
    }

    @Override
    public long getItemId(int position) {
        return position;
    }

    @Override
    public View getView(int position, View old, ViewGroup parent) {
        View tile = old != null ? old : LayoutInflater.from(parent.getContext()).inflate(R.layout.tile, parent, false);
        Query.Hit hit = getItem(position);
        thumbnails.show(hit, (ImageView) tile.findViewById(R.id.picture));
        ((TextView) tile.findViewById(R.id.score)).setText(similarity(hit));
        ((TextView) tile.findViewById(R.id.name)).setText(name(hit));
        tile.setContentDescription(
            parent.getContext().getString(R.string.result_spoken, position + 1, name(hit), similarity(hit)));
        return tile;
    }
}
